"""Start or adopt: the same input never has two jobs, unless the first left no model."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from aws.compute import Compute
from aws.errors import InvalidRequest, TrainingFailed
from aws.following import follow, stop
from aws.submission import Submission, describe, start_or_adopt
from aws.training_job import FINGERPRINT_TAG, TrainingJobSpec, request
from aws.workspace import Workspace, split_uri

MakeSpec = Callable[..., TrainingJobSpec]


def jobs(workspace: Workspace, spec: TrainingJobSpec) -> list[str]:
    found = workspace.client("sagemaker").list_training_jobs(NameContains=spec.name(1))["TrainingJobSummaries"]
    return [job["TrainingJobName"] for job in found]


def run(workspace: Workspace, spec: TrainingJobSpec) -> tuple[Submission, Any]:
    submission = start_or_adopt(workspace, spec, {})
    return submission, follow(workspace, submission.name, lambda _event: None)


def test_a_job_is_started_then_followed_while_it_runs(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(endless=True)
    started, followed = (start_or_adopt(workspace, spec, {}) for _ in range(2))
    assert (started.how, followed.how) == ("started", "followed")
    assert started.name == followed.name == spec.name(1)
    assert started.arn == followed.arn
    assert jobs(workspace, spec) == [spec.name(1)]


def test_a_completed_job_is_reused_whatever_it_would_run_on(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec()
    _, job = run(workspace, spec)
    assert job["TrainingJobStatus"] == "Completed"
    faster = spec.model_copy(update={"compute": Compute(instance_type="ml.c5.9xlarge", volume_size_gb=50)})
    again = start_or_adopt(workspace, faster, {"other": "tags"})
    assert (again.how, again.name, again.arn) == ("reused", job["TrainingJobName"], job["TrainingJobArn"])
    assert jobs(workspace, spec) == [spec.name(1)]


def test_a_job_that_failed_for_want_of_its_data_is_left_behind_for_the_next_attempt(
    workspace: Workspace, make_spec: MakeSpec
) -> None:
    spec = make_spec()
    elsewhere = spec.channels[0].model_copy(update={"uri": workspace.uri("nowhere") + "/"})
    misplaced = spec.model_copy(update={"channels": (elsewhere,)})
    assert misplaced.fingerprint == spec.fingerprint
    assert "No S3 objects found" in run(workspace, misplaced)[1]["FailureReason"]
    second = start_or_adopt(workspace, spec, {})
    assert (second.how, second.name) == ("started", spec.name(2))


def test_what_the_algorithm_refused_once_is_not_paid_for_again(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(epochs="none")
    assert run(workspace, spec)[1]["TrainingJobStatus"] == "Failed"
    with pytest.raises(TrainingFailed, match=r"epochs.*It would fail again, and cost again") as refused:
        start_or_adopt(workspace, spec, {})
    assert not refused.value.retryable
    assert jobs(workspace, spec) == [spec.name(1)]


def test_a_stopped_job_is_left_behind_for_the_next_attempt(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(endless=True)
    stop(workspace, start_or_adopt(workspace, spec, {}).name)
    second = start_or_adopt(workspace, spec, {})
    assert (second.how, second.name) == ("started", spec.name(2))
    assert start_or_adopt(workspace, spec, {}).how == "followed"


def test_a_job_whose_model_was_deleted_is_left_behind_for_the_next_attempt(
    workspace: Workspace, make_spec: MakeSpec
) -> None:
    spec = make_spec()
    _, job = run(workspace, spec)
    bucket, key = split_uri(job["ModelArtifacts"]["S3ModelArtifacts"])
    workspace.client("s3").delete_object(Bucket=bucket, Key=key)
    second = start_or_adopt(workspace, spec, {})
    assert (second.how, second.name) == ("started", spec.name(2))


def test_a_job_of_another_fingerprint_under_this_name_is_not_adopted(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(endless=True)
    asked = request(workspace, spec, spec.name(1), {})
    asked["Tags"] = [{"Key": FINGERPRINT_TAG, "Value": "f" * 64}]
    workspace.client("sagemaker").create_training_job(**asked)
    with pytest.raises(InvalidRequest, match=f"another fingerprint.*{'f' * 64}"):
        start_or_adopt(workspace, spec, {})


def test_callers_at_the_same_instant_end_with_one_job(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(endless=True)
    workspace.client("sagemaker")
    callers = 6
    together = Barrier(callers)

    def call(number: int) -> Submission:
        together.wait()
        return start_or_adopt(workspace, spec, {"caller": str(number)})

    with ThreadPoolExecutor(callers) as pool:
        submissions = list(pool.map(call, range(callers)))
    assert sorted(submission.how for submission in submissions) == ["followed"] * (callers - 1) + ["started"]
    assert {submission.name for submission in submissions} == {spec.name(1)}
    assert jobs(workspace, spec) == [spec.name(1)]


def test_a_request_the_service_refuses_starts_nothing_and_is_not_retried(
    workspace: Workspace, make_spec: MakeSpec
) -> None:
    spec = make_spec(endless=True, seed="x" * 2501)
    with pytest.raises(InvalidRequest, match=r"creating training job .*2500") as caught:
        start_or_adopt(workspace, spec, {})
    assert not caught.value.retryable
    assert jobs(workspace, spec) == []


def test_a_job_nobody_made_is_no_job(workspace: Workspace, make_spec: MakeSpec) -> None:
    assert describe(workspace, make_spec().name(1)) is None
