"""Jobs and models are shown as events and links; a run continues without the Prefect server."""

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
from tasks.prefect_ui.events import emit_decision, emit_model_event, emit_reaped_event, show_job
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
    """A function that returns the events of this project, which are recorded instead of sent."""
    AssertingEventsClient.reset()
    worker = EventsWorker.instance(AssertingEventsClient)
    monkeypatch.setattr(EventsWorker, "instance", lambda *_: worker)

    def recorded_events() -> list[Event]:
        worker.wait_until_empty()
        sent = (event for client in AssertingEventsClient.all for event in client.events)
        return [event for event in sent if event.event.startswith("linear-learner.")]

    yield recorded_events
    worker.drain()


def aws_workspace() -> Workspace:
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
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=of_run)}


def test_a_started_job_emits_an_event_related_to_its_run_and_tags(emitted: Emitted) -> None:
    with tags("linear-learner"):
        run = announcing(aws_workspace())
    (event,) = emitted()
    assert event.event == "linear-learner.training-job.started"
    assert event.resource.id == f"linear-learner.training-job.{JOB}"
    assert event.payload["at_most"] == AT_MOST
    related = {one.id for one in event.related}
    assert {f"prefect.flow-run.{run}", "prefect.tag.linear-learner"} <= related


def test_a_reused_job_has_links_but_no_event(emitted: Emitted) -> None:
    links = links_of(announcing(aws_workspace(), "reused"))
    assert links.keys() == {"training-job", "training-log"}
    assert all(
        f"[{text}](https://eu-west-1.console.aws.amazon.com/" in links[key]
        for key, text in {"training-job": JOB, "training-log": f"log of {JOB}"}.items()
    )
    assert emitted() == []


def test_a_job_in_the_sandbox_has_an_event_but_no_links(workspace: Workspace, emitted: Emitted) -> None:
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
def test_each_verdict_emits_an_event_with_its_reason(outcome: GateOutcome, name: str, emitted: Emitted) -> None:
    verdict = Verdict(outcome=outcome, headline="RMSE 1.25", reason="RMSE 1.25 instead of 4.")
    emit_model_event(verdict, EVALUATION, PACKAGE)
    (event,) = emitted()
    assert event.event == name
    assert event.resource["prefect.resource.id"] == "linear-learner.model-package-group.salaries"
    assert event.resource["linear-learner.approval-status"] == "Approved"
    assert event.payload == {
        "outcome": outcome,
        "headline": verdict.headline,
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


@pytest.mark.parametrize(("status", "name"), [("Approved", "promoted"), ("Rejected", "rejected")])
def test_a_decision_of_a_person_emits_the_event_of_such_a_model(status: str, name: str, emitted: Emitted) -> None:
    emit_decision(PACKAGE.model_copy(update={"status": status}), "checked with the team")
    (event,) = emitted()
    assert event.event == f"linear-learner.model.{name}"
    assert event.resource["prefect.resource.id"] == "linear-learner.model-package-group.salaries"
    assert event.resource["linear-learner.approval-status"] == status
    assert event.payload["reason"] == "checked with the team"
    assert event.payload["package"] == {"arn": PACKAGE.arn, "version": 7, "status": status}


def test_events_and_links_do_not_raise_without_a_server(emitted: Emitted) -> None:
    @flow
    def without_server() -> None:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
            show_job(aws_workspace(), submission(), AT_MOST)

    without_server()
    assert len(emitted()) == 1


def test_a_reaped_job_emits_an_event(emitted: Emitted) -> None:
    emit_reaped_event(JOB, "Stopping")
    (event,) = emitted()
    assert (event.event, event.payload) == ("linear-learner.training-job.reaped", {"status": "Stopping"})
    assert event.resource.id == f"linear-learner.training-job.{JOB}"
