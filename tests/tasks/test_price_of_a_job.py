"""The estimate, the budget and the bill of a job use AWS's price of the workspace's region."""

import logging
import uuid
from collections.abc import Callable

import pytest

from aws.errors import InvalidRequest
from aws.training.compute import Compute
from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from sandbox.client import call_counts
from tasks.fit import FitResult, fit
from tasks.format import ChannelFile
from tasks.monitor import monitor
from tasks.upload import Uploaded

pytestmark = pytest.mark.usefixtures("machine")

Submit = Callable[[Workspace, Compute], FitResult]


@pytest.fixture
def european(workspace: Workspace) -> Workspace:
    return workspace.with_client_options({}, "eu-west-1")


@pytest.fixture
def submit(put_object: Callable[[str, bytes], str]) -> Submit:
    """A function that submits a job with input of its own."""
    uris = {name: put_object(f"{name}/rows.csv", b"1,2\n2,3\n" * 20) for name in ("train", "validation", "test")}
    files = tuple(
        ChannelFile(channel=name, uri=uris[name], rows=40, size=160, sha256=uuid.uuid4().hex) for name in uris
    )
    uploaded = Uploaded(identity=uuid.uuid4().hex, content_type="text/csv", features=("x",), files=files, made_of={})
    hyperparameters = Hyperparameters(epochs=1, num_models=1, mini_batch_size=10)
    return lambda workspace, compute: fit(workspace, uploaded, hyperparameters, compute)


def test_a_job_is_limited_and_billed_by_the_price_of_its_region_which_is_asked_for_once(
    european: Workspace,
    submit: Submit,
    sandbox_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aws.training.following.LATE_LOG_SECONDS", 0.0)  # the sandbox has logs in its own region only
    before = call_counts(sandbox_url).get("pricing:GetProducts", 0)
    submission = submit(european, Compute(max_cost_usd=0.01)).submission
    job = european.client("sagemaker").describe_training_job(TrainingJobName=submission.name)
    assert job["StoppingCondition"]["MaxRuntimeInSeconds"] == int(0.01 / 0.1265 * 3600) - 120
    bill = monitor(european, submission).bill
    assert bill.price
    assert bill.price.usd_per_hour == 0.1265
    assert f"at most 0.01 USD: 1 x ml.m5.large for 284 s at 0.1265 USD an hour ({bill.price.source})" in caplog.text
    assert call_counts(sandbox_url)["pricing:GetProducts"] - before == 1


def test_a_job_without_a_price_is_started_and_a_budget_for_it_is_refused(
    european: Workspace, submit: Submit, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="access-denied", action="GetProducts", times=100)
    with pytest.raises(
        InvalidRequest, match=r"^max_cost_usd 1 cannot .* workspace's prices.* Allow pricing:GetProducts on "
    ):
        submit(european, Compute(max_cost_usd=1))
    assert submit(european, Compute()).submission.how == "started"
    assert "price of ml.m5.large in eu-west-1 unknown: at most 3720 s on 1 instance" in caplog.text
    warned = [record for record in caplog.records if record.levelno == logging.WARNING and "GetProducts" in record.msg]
    assert len(warned) == 1
