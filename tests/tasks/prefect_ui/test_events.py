"""What happens in AWS reaches automations as events and people as links; a server out of reach costs a run nothing."""

from collections.abc import Callable, Iterator

import pytest
from prefect import flow, get_client, tags
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.events import Event
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import AwsCredentials, S3Bucket

from aws.registry import Package
from aws.training.submission import How, Submission
from aws.workspace import Workspace
from tasks.evaluation.results import GateOutcome, Verdict
from tasks.prefect_ui.events import emit_model_event, emit_reaped_event, show_job
from tests.tasks.conftest import EVALUATION

pytestmark = pytest.mark.usefixtures("machine")

JOB = "linear-learner-7c44904b5d64b721854e"
AT_MOST = "at most 0.12 USD"
PACKAGE = Package(
    arn="arn:aws:sagemaker:eu-west-1:123456789012:model-package/salaries/7",
    group="salaries",
    version=7,
    status="Approved",
    model_uri=f"s3://data/models/{JOB}/output/model.tar.gz",
    training_job=JOB,
    metadata={},
)
Emitted = Callable[[], list[Event]]


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emitted]:
    """Tells this project's events, as they would have been sent."""
    AssertingEventsClient.reset()
    worker = EventsWorker.instance(AssertingEventsClient)
    monkeypatch.setattr(EventsWorker, "instance", lambda *_: worker)

    def tell() -> list[Event]:
        worker.wait_until_empty()
        sent = (event for client in AssertingEventsClient.all for event in client.events)
        return [event for event in sent if event.event.startswith("linear-learner.")]

    yield tell
    worker.drain()


def on_aws() -> Workspace:
    bucket = S3Bucket(bucket_name="data", credentials=AwsCredentials(region_name="eu-west-1"))
    return Workspace(bucket=bucket, role_arn="arn:aws:iam::123456789012:role/training")


def submission(how: How = "started") -> Submission:
    return Submission(name=JOB, arn=f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{JOB}", how=how)


@flow
def announcing(where: Workspace, how: How = "started") -> str:
    show_job(where, submission(how), AT_MOST)
    return str(flow_run.id)


def links_of(run: str) -> dict[str | None, str]:
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=mine)}


def test_a_job_that_is_paid_for_is_an_event_of_its_run_with_the_runs_tags(emitted: Emitted) -> None:
    with tags("linear-learner"):
        run = announcing(on_aws())
    (event,) = emitted()
    assert event.event == "linear-learner.training-job.started"
    assert event.resource.id == f"linear-learner.training-job.{JOB}"
    assert event.payload["at_most"] == AT_MOST
    related = {one.id for one in event.related}
    assert {f"prefect.flow-run.{run}", "prefect.tag.linear-learner"} <= related


def test_a_job_that_was_there_already_is_linked_to_and_no_event(emitted: Emitted) -> None:
    links = links_of(announcing(on_aws(), "reused"))
    assert links.keys() == {"training-job", "training-log"}
    assert all(
        f"[{text}](https://eu-west-1.console.aws.amazon.com/" in links[key]
        for key, text in {"training-job": JOB, "training-log": f"log of {JOB}"}.items()
    )
    assert emitted() == []


def test_a_sandboxs_job_has_no_links_but_its_event(workspace: Workspace, emitted: Emitted) -> None:
    assert links_of(announcing(workspace)) == {}
    (event,) = emitted()
    assert event.payload["console"] is None


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        ("promoted", "linear-learner.model.promoted"),
        ("first model", "linear-learner.model.first"),
        ("no better than the baseline", "linear-learner.model.rejected"),
        ("no better than the champion", "linear-learner.model.rejected"),
    ],
)
def test_each_verdict_is_an_event_of_its_group_that_says_why(outcome: GateOutcome, name: str, emitted: Emitted) -> None:
    verdict = Verdict(outcome=outcome, reason="RMSE 1.25 instead of 4.")
    emit_model_event(verdict, EVALUATION, PACKAGE)
    (event,) = emitted()
    assert event.event == name
    assert event.resource["prefect.resource.id"] == "linear-learner.model-package-group.salaries"
    assert event.resource["linear-learner.approval-status"] == "Approved"
    assert event.payload == {
        "outcome": outcome,
        "reason": verdict.reason,
        "decides": "rmse",
        "metrics": {
            "rmse": {"value": 1.25, "baseline": 4.0, "champion": 0.5},
            "r2": {"value": None, "baseline": 0.0, "champion": None},
        },
        "training_job": JOB,
        "model_uri": PACKAGE.model_uri,
        "package": {"arn": PACKAGE.arn, "version": 7, "status": "Approved"},
    }


def test_without_a_server_nothing_is_raised(emitted: Emitted) -> None:
    @flow
    def cut_off() -> None:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
            show_job(on_aws(), submission(), AT_MOST)

    cut_off()
    assert len(emitted()) == 1


def test_a_reaped_job_is_an_event(emitted: Emitted) -> None:
    emit_reaped_event(JOB, "Stopping")
    (event,) = emitted()
    assert (event.event, event.payload) == ("linear-learner.training-job.reaped", {"status": "Stopping"})
    assert event.resource.id == f"linear-learner.training-job.{JOB}"
