"""Instance types that AWS refuses are skipped, and others are requested instead."""

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aws.errors import AccessDenied, AwsError, InvalidRequest, NoCapacity, QuotaExceeded, UnsupportedInstanceType
from aws.training.compute import Compute
from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from tasks.fit import FitResult, fit
from tasks.format import ChannelFile
from tasks.upload import Uploaded

pytestmark = pytest.mark.usefixtures("machine")

Inject = Callable[..., None]
Submit = Callable[..., FitResult]
UNKNOWN = "ml.m9.large"
"""A type that SageMaker does not train on."""


@pytest.fixture
def submit(workspace: Workspace, put_object: Callable[[str, bytes], str], inject: Inject) -> Iterator[Submit]:
    """A function that submits a job with input of its own on these instance types; stops the jobs after the test."""
    submitted: list[str] = []
    uris = {name: put_object(f"{name}/rows.csv", b"1,2\n2,3\n" * 20) for name in ("train", "validation", "test")}

    def run(*types: str, key: str | None = None, **changes: Any) -> FitResult:
        inject(kind="slow-job", seconds=3600, times=1000)
        compute = Compute(instance_type=types[0], fallback_instance_types=types[1:], max_queue_seconds=0, **changes)
        files = [
            ChannelFile(channel=name, uri=uri, rows=40, size=160, sha256=uuid.uuid4().hex) for name, uri in uris.items()
        ]
        uploaded = Uploaded(
            identity=uuid.uuid4().hex, content_type="text/csv", features=("x",), files=tuple(files), made_of={}
        )
        chosen = workspace.model_copy(update={"kms_key_id": key})
        result = fit(chosen, uploaded, Hyperparameters(epochs=1, num_models=1, mini_batch_size=10), compute)
        submitted.append(result.submission.name)
        return result

    yield run
    for name in submitted:
        workspace.client("sagemaker").stop_training_job(TrainingJobName=name)


def requested(result: FitResult, workspace: Workspace) -> dict[str, Any]:
    """The resources of the job that was started."""
    job: Any = workspace.client("sagemaker").describe_training_job(TrainingJobName=result.submission.name)
    return dict(job["ResourceConfig"])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_workspace_with_a_key_falls_back_to_an_instance_type_with_local_disks(
    workspace: Workspace, submit: Submit, inject: Inject
) -> None:
    inject(kind="quota", limit=0)
    on_nvme = submit("ml.m5.large", "ml.g4dn.xlarge", "ml.c5.xlarge", key="1234")
    assert requested(on_nvme, workspace)["InstanceType"] == "ml.g4dn.xlarge"
    assert "VolumeKmsKeyId" not in requested(on_nvme, workspace)
    assert requested(submit("ml.c5.xlarge", key="1234"), workspace)["VolumeKmsKeyId"] == "1234"


def test_a_type_that_needs_no_key_but_is_not_in_the_table_is_skipped(
    workspace: Workspace, submit: Submit, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aws.training.request.has_local_storage", lambda _: False)
    result = submit("ml.g5.xlarge", "ml.c5.xlarge", key="1234")
    assert requested(result, workspace)["InstanceType"] == "ml.c5.xlarge"
    [warning] = [line for line in warnings(caplog) if "skipped" in line]
    assert warning.startswith("ml.g5.xlarge is skipped: AWS failed while creating training job ")
    assert "KMS key is not supported for NVMe instance storage" in warning
    with pytest.raises(UnsupportedInstanceType, match="keys for training volumes and outputs empty"):
        submit("ml.g5.xlarge", key="1234")


@pytest.mark.parametrize("types", [(UNKNOWN, "ml.m5.large"), (UNKNOWN, "ml.m8.large", "ml.m5.large")])
def test_a_refused_type_is_skipped_with_a_warning_that_names_it(
    workspace: Workspace, submit: Submit, caplog: pytest.LogCaptureFixture, types: tuple[str, ...]
) -> None:
    assert requested(submit(*types), workspace)["InstanceType"] == "ml.m5.large"
    skipped = [line.split()[0] for line in warnings(caplog) if "is skipped: " in line]
    assert skipped == list(types[:-1])


def test_a_type_that_the_budget_does_not_pay_for_is_skipped(
    workspace: Workspace, submit: Submit, inject: Inject
) -> None:
    inject(kind="access-denied", action="GetProducts", times=100)  # the table has no price of ml.p3.2xlarge
    result = submit("ml.p3.2xlarge", "ml.r5.24xlarge", "ml.m5.large", max_cost_usd=0.05)
    assert requested(result, workspace)["InstanceType"] == "ml.m5.large"
    with pytest.raises(InvalidRequest, match=r"max_cost_usd 0\.05 cannot be enforced: the price of ml\.p3\.2xlarge"):
        submit("ml.p3.2xlarge", max_cost_usd=0.05)


def test_if_all_types_are_refused_one_error_names_each_with_its_reason(submit: Submit, inject: Inject) -> None:
    with pytest.raises(UnsupportedInstanceType) as caught:
        submit(UNKNOWN, "ml.m8.large")
    first, *refusals = str(caught.value).splitlines()
    assert first == "AWS accepted none of the 2 instance types:"
    assert [line.split(":")[0] for line in refusals] == [f"1. {UNKNOWN}", "2. ml.m8.large"]
    assert all("SageMaker does not train on ml.m" in line for line in refusals)
    inject(kind="quota", limit=0)
    with pytest.raises(QuotaExceeded, match=rf"1\. ml\.m5\.large: .*quota(?s:.*)2\. {UNKNOWN}: "):
        submit("ml.m5.large", UNKNOWN)


@pytest.mark.parametrize("types", [("ml.m5.large", "ml.c5.xlarge"), (UNKNOWN, "ml.c5.xlarge")])
def test_an_error_of_the_whole_request_ends_at_once(submit: Submit, inject: Inject, types: tuple[str, ...]) -> None:
    inject(kind="access-denied", action="CreateTrainingJob", times=1)
    with pytest.raises(AccessDenied, match="sagemaker:CreateTrainingJob") as caught:
        submit(*types)
    assert isinstance(caught.value, AwsError)
    assert not isinstance(caught.value, NoCapacity | UnsupportedInstanceType)
