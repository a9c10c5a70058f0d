"""A job's own channels, trained on again, give the job's log."""

import pytest

from aws.errors import NotFound
from aws.training.compute import Compute
from aws.training.request import Channel, build_spec
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace
from flows.compare import main, retrain_and_compare
from linear_learner.hyperparameters import Hyperparameters

ROWS = "".join(f"{3 * index + 1},{index},{index % 7}\n" for index in range(100))


def run_job(workspace: Workspace, epochs: int = 3) -> str:
    """The name of a finished job on a small table."""
    s3 = workspace.client("s3")
    s3.put_object(Bucket=workspace.bucket.bucket_name, Key=workspace.key("train", "train.csv"), Body=ROWS.encode())
    channel = Channel(name="train", uri=workspace.uri("train") + "/", rows=100, sha256="0" * 64)
    wire = Hyperparameters(mini_batch_size=10, epochs=epochs).to_wire()
    job = start_or_adopt(workspace, build_spec(workspace, wire, (channel,), Compute()), "run", {})
    workspace.client("sagemaker").get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=job.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return job.name


def test_a_job_equals_its_repetition(workspace: Workspace) -> None:
    comparison = retrain_and_compare(workspace, run_job(workspace))
    assert comparison.is_equal(1e-9)
    assert len(comparison.losses) == 32 * 3


def test_a_job_whose_channel_has_changed_does_not(workspace: Workspace) -> None:
    name = run_job(workspace)
    key = workspace.key("train", "train.csv")
    workspace.client("s3").put_object(
        Bucket=workspace.bucket.bucket_name, Key=key, Body=ROWS.replace("1,0", "9,0").encode()
    )
    assert not retrain_and_compare(workspace, name).is_equal(1e-9)


def test_a_job_that_does_not_exist_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match="no training job linear-learner-none"):
        retrain_and_compare(workspace, "linear-learner-none")


@pytest.mark.usefixtures("machine")
def test_the_command_line_ends_with_the_result(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "set")  # so that no server is started
    workspace.save("compared", overwrite=True)
    name = run_job(workspace)
    assert main([name, "--workspace", "compared"]) == 0
    assert "saved_model" in capsys.readouterr().out
    assert main(["linear-learner-none", "--workspace", "compared"]) == 2
    assert main([name, "--workspace", "nowhere"]) == 2
    assert "`python -m deployments.blocks` saves one" in capsys.readouterr().err
    assert main(["--nonsense"]) == 2
