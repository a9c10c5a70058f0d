"""Following a job tells everything once and in order; an abandoned job is stopped."""

from collections.abc import Callable

import pytest

from aws.errors import NotFound, TrainingFailed
from aws.following import LOG_GROUP, LogLine, Status, described, follow, stop, stopped_if_abandoned
from aws.submission import start_or_adopt
from aws.training_job import TrainingJobSpec
from aws.workspace import Workspace

MakeSpec = Callable[..., TrainingJobSpec]


def cloudwatch(workspace: Workspace, name: str) -> list[str]:
    """The whole log of a job that is over, in one answer."""
    logs = workspace.client("logs")
    [stream] = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    answer = logs.get_log_events(
        logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True, limit=10_000
    )
    return [event["message"] for event in answer["events"]]


def test_every_phase_and_every_log_line_is_told_once_and_in_order(workspace: Workspace, make_spec: MakeSpec) -> None:
    name = start_or_adopt(workspace, make_spec(epochs="40"), {}).name
    told: list[Status | LogLine] = []
    job = follow(workspace, name, told.append)
    assert job["TrainingJobStatus"] == "Completed"
    assert [event for event in told if isinstance(event, Status)] == [
        Status("Starting", "Starting the training job"),
        Status("Downloading", "Downloading input data"),
        Status("Training", "Training image download completed. Training in progress."),
        Status("Uploading", "Uploading generated training model"),
        Status("Completed", "Training job completed"),
    ]
    lines = [event.text for event in told if isinstance(event, LogLine)]
    assert lines == cloudwatch(workspace, name)
    assert sum("#progress_metric" in line for line in lines) >= 4


def test_a_job_that_was_over_before_is_told_from_its_beginning(workspace: Workspace, make_spec: MakeSpec) -> None:
    name = start_or_adopt(workspace, make_spec(), {}).name
    first, second = list[Status | LogLine](), list[Status | LogLine]()
    follow(workspace, name, first.append)
    follow(workspace, name, second.append)
    assert set(second) == set(first)
    assert len(second) == len(first)


def test_a_failed_job_is_followed_to_its_reason(workspace: Workspace, make_spec: MakeSpec) -> None:
    name = start_or_adopt(workspace, make_spec(epochs="none"), {}).name
    told: list[Status | LogLine] = []
    job = follow(workspace, name, told.append)
    assert "epochs" in job["FailureReason"]
    assert told[-1] == Status("Failed", "Training job failed") or isinstance(told[-1], LogLine)
    assert any(isinstance(event, LogLine) and "Customer Error" in event.text for event in told)


def test_a_job_that_waits_without_a_log_yet_is_followed_all_the_same(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(endless=True)
    name = start_or_adopt(workspace, spec, {}).name

    def stop_at_once(event: Status | LogLine) -> None:
        if isinstance(event, Status) and event.phase == "Starting":
            stop(workspace, name)

    assert follow(workspace, name, stop_at_once)["TrainingJobStatus"] == "Stopped"


def test_a_long_job_is_stopped_and_stopping_it_again_is_fine(workspace: Workspace, make_spec: MakeSpec) -> None:
    name = start_or_adopt(workspace, make_spec(endless=True), {}).name
    assert stop(workspace, name) == "Stopped"
    assert stop(workspace, name) == "Stopped"
    assert described(workspace, name)["SecondaryStatus"] == "Stopped"


def test_stopping_a_completed_job_leaves_it_completed(workspace: Workspace, make_spec: MakeSpec) -> None:
    name = start_or_adopt(workspace, make_spec(), {}).name
    follow(workspace, name, lambda _event: None)
    assert stop(workspace, name) == "Completed"


def test_a_job_that_does_not_exist_is_not_found(workspace: Workspace) -> None:
    for look in (described, stop):
        with pytest.raises(NotFound, match=r"no training job nobodys in region us-east-1"):
            look(workspace, "nobodys")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_job_is_stopped_when_whoever_follows_it_is_interrupted(
    workspace: Workspace, make_spec: MakeSpec, error: type[BaseException]
) -> None:
    name = start_or_adopt(workspace, make_spec(endless=True), {}).name
    with pytest.raises(error), stopped_if_abandoned(workspace, name):
        raise error
    assert described(workspace, name)["TrainingJobStatus"] == "Stopped"


def test_a_job_is_left_alone_when_its_follower_ends_well_or_tells_its_own_failure(
    workspace: Workspace, make_spec: MakeSpec
) -> None:
    name = start_or_adopt(workspace, make_spec(endless=True), {}).name
    with stopped_if_abandoned(workspace, name):
        pass
    with pytest.raises(TrainingFailed), stopped_if_abandoned(workspace, name):
        raise TrainingFailed
    assert described(workspace, name)["TrainingJobStatus"] == "InProgress"


def test_what_prevents_the_stop_is_said_since_the_job_goes_on_costing(workspace: Workspace) -> None:
    with pytest.raises(NotFound) as caught, stopped_if_abandoned(workspace, "nobodys"):
        raise KeyboardInterrupt
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
