"""The flow with faults of AWS: it recovers or fails with a remedy, and does not pay twice for the same input."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.request import urlopen
from uuid import UUID

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.sorting import ArtifactSort
from prefect.states import Cancelling

from aws.errors import AccessDenied, AwsError, InvalidRequest, NoCapacity, QuotaExceeded, TrainingFailed
from aws.training.compute import Compute
from aws.training.leases import RUN_TAG
from aws.training.submission import Submission
from aws.workspace import Workspace
from flows.reap import reap_training_jobs
from flows.train import MAX_INTERNAL_ERRORS, fit_and_monitor, train_linear_learner
from sandbox import faults
from sandbox.client import call_counts
from tasks.monitor import FinishedJob
from tasks.parameters import Dataset
from tasks.report import TrainingRun
from tests.docs.pages import commands
from tests.flows.conftest import HYPERPARAMETERS
from tests.tasks.conftest import in_flow

pytestmark = pytest.mark.e2e

Parameters = dict[str, Any]
Jobs = Callable[[], list[str]]
FALLBACK = Compute(fallback_instance_types=("ml.m5.xlarge",))
SPOT = Compute(spot=True)
EPOCHS = count(2)
"""A number of epochs that no other test uses, so that a new job is needed."""
MAX_CALLS = 30
"""Calls of one SageMaker action that a run here may make; following a job for some seconds makes a dozen."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of half a minute to about a second."""
    monkeypatch.setattr("aws.training.compute.FIRST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr("aws.training.following.LATE_LOG_SECONDS", 1.5)


@pytest.fixture(autouse=True)
def limited_calls(sandbox_url: str) -> Iterator[None]:
    """Check that no run exceeds MAX_CALLS, as AWS throttles some actions for the whole account."""
    before = call_counts(sandbox_url)
    yield
    calls = {action: count - before.get(action, 0) for action, count in call_counts(sandbox_url).items()}
    assert not {name: count for name, count in calls.items() if count > MAX_CALLS and name.startswith("sagemaker")}


def compute_of(workspace: Workspace, job: str) -> tuple[str, bool]:
    described = workspace.client("sagemaker").describe_training_job(TrainingJobName=job)
    return described["ResourceConfig"]["InstanceType"], described["EnableManagedSpotTraining"]


def failure_report() -> str:
    """Return the newest artifact of a failure."""
    failures = ArtifactFilter(key=ArtifactFilterKey(any_=["failure"]))
    with get_client(sync_client=True) as client:
        newest = client.read_artifacts(artifact_filter=failures, sort=ArtifactSort.CREATED_DESC, limit=1)
    return str(newest[0].data)


TEMPORARY_FAULTS: list[list[dict[str, Any]]] = [
    [
        {"kind": "throttling", "action": "CreateTrainingJob", "times": 3},
        {"kind": "throttling", "action": "DescribeTrainingJob", "times": 7},
        {"kind": "throttling", "action": "GetLogEvents", "times": 2},
        {"kind": "late-log", "seconds": 0.5},
        {"kind": "service-error", "action": "PutObject", "times": 2},
        {"kind": "lost-answer", "action": "GetObject"},
    ],
    [{"kind": "service-error", "action": "CreateTrainingJob", "times": 6}, {"kind": "missing-log"}],
]
FAULTS_OF_THE_JOB: list[list[dict[str, Any]]] = [
    [
        {"kind": "lost-answer", "action": "CreateTrainingJob"},
        {"kind": "slow-job", "seconds": 3},
        {"kind": "service-error", "action": "DescribeLogStreams", "times": 7},  # more than boto3 retries
    ],
    [{"kind": "lost-answer", "action": "CreateTrainingJob", "times": 5}],
    [{"kind": "slow-answer", "action": "CreateTrainingJob", "seconds": 1}, {"kind": "quota", "times": 1}],
]


@pytest.mark.parametrize("faults", TEMPORARY_FAULTS, ids=lambda faults: "+".join(fault["kind"] for fault in faults))
def test_a_run_recovers_from_temporary_faults_with_one_job(
    parameters: Parameters, jobs: Jobs, inject: Callable[..., None], faults: list[dict[str, Any]]
) -> None:
    for fault in faults:
        inject(**fault)
    run = train_linear_learner(**parameters)
    assert run.submission.how == "started"
    assert run.model.path.exists()
    assert jobs() == [run.job.name]


@pytest.mark.parametrize("faults", FAULTS_OF_THE_JOB, ids=lambda faults: "+".join(fault["kind"] for fault in faults))
@pytest.mark.usefixtures("machine")
def test_the_start_of_a_job_recovers_from_temporary_faults_without_a_second_job(
    run: TrainingRun, jobs: Jobs, workspace: Workspace, inject: Callable[..., None], faults: list[dict[str, Any]]
) -> None:
    hyperparameters = HYPERPARAMETERS.model_copy(update={"epochs": next(EPOCHS)}).resolve("regressor", 0, 10)
    for fault in faults:
        inject(**fault)
    submission, job = in_flow(
        workspace, lambda: fit_and_monitor(workspace, run.uploaded, hyperparameters, Compute(), "adopt")
    )
    assert submission.how == "started"
    assert job.model.size > 0
    assert jobs() == [job.name]


@pytest.mark.parametrize(
    ("fault", "compute", "expected"),
    [
        ({"kind": "no-capacity", "times": 3}, Compute(), [("ml.m5.large", False)] * 4),
        ({"kind": "no-capacity"}, FALLBACK, [("ml.m5.large", False), ("ml.m5.xlarge", False)]),
        ({"kind": "no-capacity"}, SPOT, [("ml.m5.large", True), ("ml.m5.large", False)]),
        ({"kind": "quota", "limit": 0}, FALLBACK, [("ml.m5.xlarge", False)]),
        ({"kind": "quota"}, SPOT, [("ml.m5.large", False)]),
        ({"kind": "internal-error"}, FALLBACK, [("ml.m5.large", False)] * 2),
        ({"kind": "spot-interruption"}, SPOT, [("ml.m5.large", True)]),
    ],
    ids=lambda case: str(case.get("kind", case)) if isinstance(case, dict) else "",
)
@pytest.mark.usefixtures("machine")
def test_a_job_is_tried_again_after_a_lack_of_capacity_or_an_internal_error(
    run: TrainingRun,
    jobs: Jobs,
    workspace: Workspace,
    inject: Callable[..., None],
    fault: dict[str, Any],
    compute: Compute,
    expected: list[tuple[str, bool]],
) -> None:
    hyperparameters = HYPERPARAMETERS.model_copy(update={"epochs": next(EPOCHS)}).resolve("regressor", 0, 10)

    def train() -> tuple[Submission, FinishedJob]:
        return in_flow(workspace, lambda: fit_and_monitor(workspace, run.uploaded, hyperparameters, compute, "adopt"))

    inject(**fault)
    _, job = train()
    assert [compute_of(workspace, job) for job in sorted(jobs(), key=len)] == expected
    assert job.name == max(jobs())
    submission, again = train()
    assert (submission.how, again.name) == ("reused", job.name)


@pytest.mark.parametrize(
    ("fault", "compute", "error", "remedy"),
    [
        (
            {"kind": "access-denied", "action": "CreateTrainingJob"},
            {},
            AccessDenied,
            "Allow sagemaker:CreateTrainingJob",
        ),
        ({"kind": "access-denied", "action": "HeadObject", "times": 9}, {}, AccessDenied, "s3:GetObject on the object"),
        ({"kind": "quota", "limit": 0}, {}, QuotaExceeded, "Request a higher quota"),
        ({"kind": "quota", "times": 9}, {"max_queue_seconds": 2}, QuotaExceeded, "Wait until other jobs end"),
        ({"kind": "no-capacity", "times": 9}, {"max_queue_seconds": 0}, NoCapacity, "fallback_instance_types"),
        ({"kind": "internal-error", "times": 9}, {}, TrainingFailed, "InternalServerError"),
    ],
    ids=lambda case: str(case.get("kind", "")) if isinstance(case, dict) else "",
)
def test_a_permanent_fault_fails_the_run_with_a_remedy_in_the_error_and_the_artifact(
    parameters: Parameters,
    inject: Callable[..., None],
    fault: dict[str, Any],
    compute: dict[str, Any],
    error: type[AwsError],
    remedy: str,
    jobs: Jobs,
) -> None:
    inject(**fault)
    with pytest.raises(error) as caught:
        train_linear_learner(**parameters, compute=Compute(**compute))
    assert len(jobs()) <= MAX_INTERNAL_ERRORS
    assert type(caught.value) is error
    assert remedy in str(caught.value)
    assert remedy in failure_report()


def test_a_job_that_exceeded_its_time_limit_is_reported_with_its_log_and_started_again_only_with_a_longer_limit(
    parameters: Parameters, jobs: Jobs, inject: Callable[..., None]
) -> None:
    inject(kind="max-runtime", seconds=3)
    exceeded = r"MaxRuntimeExceeded.*Raise max_runtime_seconds"
    with pytest.raises(TrainingFailed, match=exceeded):
        train_linear_learner(**parameters)
    report = failure_report()
    assert report.index("## What happened") < report.index("## What to do") < report.index("## End of the log")
    assert "Raise max_runtime_seconds" in report
    assert "#quality_metric" in report
    with pytest.raises(TrainingFailed, match=exceeded):
        train_linear_learner(**parameters)
    assert len(jobs()) == 1
    assert train_linear_learner(**parameters, compute=Compute(max_runtime_seconds=7200)).submission.how == "started"


def test_only_the_failed_steps_are_repeated(parameters: Parameters, jobs: Jobs, inject: Callable[..., None]) -> None:
    # Reads stored results, without which steps run; writes an object in the check of the workspace; starts the job.
    for action in ("GetObject", "PutObject", "CreateTrainingJob"):
        inject(kind="service-error", action=action, times=5)  # the number of attempts of boto3
    state: State[Any] = train_linear_learner(**parameters, return_state=True)
    assert state.is_completed()
    flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        runs = {run.name: run.run_count for run in client.read_task_runs(flow_run_filter=flow_run)}
    repeated = ("check linear-learner-sandbox", "fit regressor on ml.m5.large")
    assert runs == dict.fromkeys(runs, 1) | dict.fromkeys(repeated, 2)
    assert len(jobs()) == 1


def test_a_log_that_may_not_be_read_neither_ends_the_run_nor_the_job(
    parameters: Parameters, jobs: Jobs, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="access-denied", action="DescribeLogStreams", times=1000)
    run = train_linear_learner(**parameters)
    assert jobs() == [run.job.name]
    assert run.job.log.summary is None
    assert "Allow logs:DescribeLogStreams" in str(run.job.log.objection)
    assert caplog.text.count(f"The log of {run.job.name} cannot be read") == 1
    assert "There is no summary of its log" in run.model.path.with_name("report.html").read_text()


def test_the_job_of_a_failed_run_continues_and_the_next_run_follows_it(
    parameters: Parameters,
    jobs: Jobs,
    workspace: Workspace,
    inject: Callable[..., None],
    sandbox_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("aws.training.following.MAX_OFFLINE_SECONDS", 0.5)
    inject(kind="slow-job", seconds=6)

    def created() -> int:
        return call_counts(sandbox_url).get("sagemaker:CreateTrainingJob", 0)

    before = created()

    def deny_the_status() -> None:
        deadline = time.monotonic() + 60
        while created() == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        inject(kind="access-denied", action="DescribeTrainingJob", times=1000)

    denied = threading.Thread(target=deny_the_status)
    denied.start()
    with pytest.raises(AccessDenied):
        train_linear_learner(**parameters)
    denied.join()
    faults.clear(sandbox_url)
    [job] = jobs()
    assert workspace.client("sagemaker").describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "InProgress"
    assert f"This run is Failed; training job {job} continues." in caplog.text
    assert reap_training_jobs("flows") == []
    run = train_linear_learner(**parameters)
    assert (run.submission.how, jobs()) == ("followed", [job])


def test_a_run_that_is_cancelled_in_the_ui_stops_its_job_without_a_worker(
    parameters: Parameters, jobs: Jobs, workspace: Workspace, inject: Callable[..., None]
) -> None:
    inject(kind="slow-job", seconds=600)

    def cancel_during_training() -> None:
        sagemaker, deadline = workspace.client("sagemaker"), time.monotonic() + 60
        while not (names := jobs()):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        while "TrainingStartTime" not in (job := sagemaker.describe_training_job(TrainingJobName=names[0])):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]}
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(tags[RUN_TAG]), Cancelling())

    canceller = threading.Thread(target=cancel_during_training)
    canceller.start()
    state: State[Any] = train_linear_learner(**parameters, return_state=True)
    canceller.join()
    assert state.is_cancelled()
    [job] = jobs()
    assert workspace.client("sagemaker").describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped"


def test_if_exists_decides_whether_the_same_input_is_trained_again(
    run: TrainingRun, parameters: Parameters, jobs: Jobs
) -> None:
    parameters["dataset"] = Dataset(source=run.table.source.uri, target="pay")
    with pytest.raises(InvalidRequest, match=r'is Completed.*"adopt".*"new"'):
        train_linear_learner(**parameters, if_exists="fail")
    second = train_linear_learner(**parameters, if_exists="new")
    assert (second.submission.how, second.job.name) == ("started", f"{run.job.name}-2")
    assert second.model.sha256 == run.model.sha256
    assert jobs() == [second.job.name]


def test_a_budget_limits_the_time_of_the_job_and_is_refused_if_too_small(
    parameters: Parameters, jobs: Jobs, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidRequest, match=r"max_cost_usd 0\.001 pays for 0 s .* at least 0\.01"):
        train_linear_learner(**parameters, compute=Compute(max_cost_usd=0.001))
    assert jobs() == []
    train_linear_learner(**parameters, compute=Compute(max_cost_usd=0.01))
    described = workspace.client("sagemaker").describe_training_job(TrainingJobName=jobs()[0])
    limit = described["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert (limit + 120) * 0.115 / 3600 <= 0.01 < (limit + 121) * 0.115 / 3600
    assert f"at most 0.01 USD: 1 x ml.m5.large for {limit + 120} s" in caplog.text


def test_the_fault_commands_of_the_documentation_run(sandbox_url: str) -> None:
    state_dir = json.loads(urlopen(f"{sandbox_url}/_sandbox").read())["state_dir"]  # noqa: S310 - http on this machine
    *injected, listed, cleared = commands("docs/sandbox.md", "## Rehearse failures")
    for number, (python, *command) in enumerate([*injected, listed], start=1):
        assert python == ".venv/bin/python"
        output = subprocess.check_output([sys.executable, *command, "--state-dir", state_dir], text=True)
        assert len(re.findall("^kind=", output, re.MULTILINE)) == min(number, len(injected))
    output = subprocess.check_output([sys.executable, *cleared[1:], "--state-dir", state_dir], text=True)
    assert output == ""


def test_spot_without_checkpoints_logs_a_warning_and_the_bill_shows_the_savings_of_spot(
    parameters: Parameters, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="slow-job", seconds=3)
    bill = train_linear_learner(**parameters, compute=Compute(spot=True, checkpoints=False)).job.bill
    assert bill.spot
    assert bill.billable_seconds < bill.training_seconds
    assert "saved by spot" in str(bill)
    assert "spot without checkpoints" in caplog.text
