"""Runs, the hook that stops a run's jobs, and the reaper, with keys of an assumed role that expire in the meantime."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled

from aws.training.compute import Compute
from aws.training.leases import release_lease
from aws.training.request import Channel, build_spec
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace
from flows.reap import reap_training_jobs, stop_or_leave_jobs
from flows.train import train_linear_learner
from sandbox.client import call_counts, make_workspace

ROLE_ARN = "arn:aws:iam::123456789012:role/flow"
Inject = Callable[..., None]


@pytest.fixture(scope="session")
def saved_role_workspace(sandbox_url: str, workspace: Workspace) -> Workspace:
    """A workspace that assumes a role, saved as `flows-role`; the prefix is that of `workspace`."""
    saved = make_workspace(sandbox_url)
    credentials = saved.bucket.credentials.model_copy(update={"assume_role_arn": ROLE_ARN})
    saved.bucket = saved.bucket.model_copy(update={"credentials": credentials})
    saved.prefix = workspace.prefix
    saved.save("flows-role")
    return saved


@pytest.fixture
def short_keys(saved_role_workspace: Workspace, inject: Inject) -> Workspace:
    """The workspace; the keys that it uses now are rejected once, and the next ones expire after a second."""
    inject(kind="short-session", seconds=1, times=2)  # if there are no keys yet, two calls of AssumeRole follow
    inject(kind="expired-credentials")
    saved_role_workspace.client("sts").get_caller_identity()
    return saved_role_workspace


@pytest.fixture
def abandoned_job(short_keys: Workspace, put_object: Callable[[str, bytes], str], inject: Inject) -> tuple[str, str]:
    """Name and flow run of a job that waits in Training; the keys that created it have expired."""
    inject(kind="slow-job", seconds=3600)
    uri = put_object("expired-keys/rows.csv", b"1,2\n").removesuffix("rows.csv")
    channel = Channel(name="train", uri=uri, rows=1, sha256=uuid.uuid4().hex)
    spec = build_spec(short_keys, {"predictor_type": "regressor"}, (channel,), Compute())
    run = str(uuid.uuid4())
    submission = start_or_adopt(short_keys, spec, run, {})
    time.sleep(1)
    return submission.name, run


def status(workspace: Workspace, job: str) -> str:
    return workspace.client("sagemaker").describe_training_job(TrainingJobName=job)["TrainingJobStatus"]


def test_a_run_completes_with_one_job_after_its_keys_have_expired(
    parameters: dict[str, Any], short_keys: Workspace, jobs: Callable[[], list[str]], inject: Inject, sandbox_url: str
) -> None:
    before = call_counts(sandbox_url)["sts:AssumeRole"]
    inject(kind="slow-job", seconds=2)
    run = train_linear_learner(**parameters | {"workspace": "flows-role"})
    assert run.submission.how == "started"
    assert jobs() == [run.job.name]
    assert call_counts(sandbox_url)["sts:AssumeRole"] > before
    assert status(short_keys, run.job.name) == "Completed"


def test_the_hook_stops_the_job_of_a_run_whose_keys_have_expired(
    abandoned_job: tuple[str, str], workspace: Workspace
) -> None:
    job, run = abandoned_job
    flow_run = FlowRun(id=uuid.UUID(run), flow_id=uuid.uuid4(), parameters={"workspace": "flows-role"})
    stop_or_leave_jobs(train_linear_learner, flow_run, Cancelled())
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_the_reaper_stops_an_abandoned_job_after_its_keys_have_expired(
    abandoned_job: tuple[str, str], workspace: Workspace
) -> None:
    job, run = abandoned_job
    arn = workspace.client("sagemaker").describe_training_job(TrainingJobName=job)["TrainingJobArn"]
    release_lease(workspace, arn, run)
    assert job in reap_training_jobs("flows-role")
    assert status(workspace, job) in {"Stopping", "Stopped"}
