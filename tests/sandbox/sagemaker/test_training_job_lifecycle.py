"""A training job from CreateTrainingJob to its end, as DescribeTrainingJob, S3 and CloudWatch show it."""

import gzip
import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from linear_learner.formats.artifact import read_model
from sandbox.account import BUCKET, ROLE_ARN


@pytest.fixture(scope="module")
def completed(user: Any) -> dict[str, Any]:
    job: dict[str, Any] = user.train("completed", Environment={"NOTE": "text"})
    return job


@pytest.fixture(autouse=True)
def stop_running_jobs(user: Any) -> Iterator[None]:
    """Jobs of a failed test must not delay the jobs of other tests."""
    yield
    for summary in user.sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        user.stop(summary["TrainingJobName"])


def processes_of(folder: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if folder in line and "linear_learner" in line]


def test_a_completed_job_has_the_statuses_and_messages_of_the_service(completed: dict[str, Any]) -> None:
    assert (completed["TrainingJobStatus"], completed["SecondaryStatus"]) == ("Completed", "Completed")
    assert [(t["Status"], t["StatusMessage"]) for t in completed["SecondaryStatusTransitions"]] == [
        ("Starting", "Starting the training job"),
        ("Downloading", "Downloading input data"),
        ("Training", "Training image download completed. Training in progress."),
        ("Uploading", "Uploading generated training model"),
        ("Completed", "Training job completed"),
    ]


def test_status_transitions_have_no_gaps(completed: dict[str, Any]) -> None:
    transitions = completed["SecondaryStatusTransitions"]
    assert completed["CreationTime"] <= transitions[0]["StartTime"]
    assert [t["EndTime"] for t in transitions[:-1]] == [t["StartTime"] for t in transitions[1:]]
    assert transitions[1]["StartTime"] == completed["TrainingStartTime"]
    assert transitions[-1]["EndTime"] == completed["TrainingEndTime"] == completed["LastModifiedTime"]


def test_the_billable_seconds_are_the_training_time_rounded_up(completed: dict[str, Any]) -> None:
    elapsed = (completed["TrainingEndTime"] - completed["TrainingStartTime"]).total_seconds()
    assert elapsed <= completed["TrainingTimeInSeconds"] <= elapsed + 1
    assert completed["BillableTimeInSeconds"] == completed["TrainingTimeInSeconds"]


def test_describe_returns_the_request(user: Any, completed: dict[str, Any]) -> None:
    request = user.request("completed", Environment={"NOTE": "text"})
    channel = request["InputDataConfig"][0] | {"CompressionType": "None", "RecordWrapperType": "None"}
    for name in (
        "RoleArn",
        "HyperParameters",
        "OutputDataConfig",
        "ResourceConfig",
        "StoppingCondition",
        "Environment",
    ):
        assert completed[name] == request[name]
    assert completed["InputDataConfig"] == [channel]
    assert completed["TrainingJobArn"] == "arn:aws:sagemaker:us-east-1:123456789012:training-job/completed"
    assert not completed["EnableManagedSpotTraining"]


def test_the_model_is_an_archive_that_can_be_read(user: Any, completed: dict[str, Any], tmp_path: Any) -> None:
    uri = completed["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{BUCKET}/models/completed/output/model.tar.gz"
    content = user.read("models/completed/output/model.tar.gz")
    (tmp_path / "model.tar.gz").write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["model_algo-1"]
    assert read_model(tmp_path / "model.tar.gz").weights.shape == (2, 1)


def test_equal_jobs_create_identical_archives(user: Any, completed: dict[str, Any]) -> None:
    time.sleep(1.1)  # an archive that contained the time would differ
    repeated = user.train("repeated", HyperParameters=completed["HyperParameters"])
    first, second = (user.read(f"models/{name}/output/model.tar.gz") for name in ("completed", "repeated"))
    assert repeated["TrainingJobStatus"] == "Completed"
    assert first == second
    assert gzip.decompress(first) != b""


def test_the_log_is_in_cloudwatch_line_by_line(user: Any, completed: dict[str, Any]) -> None:
    lines = user.log("completed")
    assert sum("#quality_metric: host=algo-1, epoch=" in line for line in lines) >= 2
    assert any("Best model found for hyperparameters" in line for line in lines)
    assert all("\n" not in line for line in lines)
    assert completed["SecondaryStatus"] == "Completed"


def test_final_metrics_are_the_last_values_of_the_log(user: Any, completed: dict[str, Any]) -> None:
    final = {metric["MetricName"]: metric["Value"] for metric in completed["FinalMetricDataList"]}
    [mse] = [line for line in user.log("completed") if "#quality_metric: host=algo-1, train mse <loss>=" in line]
    assert final["train:mse"] == pytest.approx(float(mse.partition("<loss>=")[2]))
    assert final["train:progress"] == 100
    defined = {metric["Name"] for metric in completed["AlgorithmSpecification"]["MetricDefinitions"]}
    assert len(defined) == 37
    assert set(final) <= defined


def test_a_log_can_be_read_while_the_job_runs(user: Any) -> None:
    user.start_endless("followed")
    user.wait("followed", "Training")
    deadline = time.monotonic() + 30
    while not any("epoch=" in line for line in user.log("followed")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert user.describe("followed")["TrainingJobStatus"] == "InProgress"
    user.stop("followed")
    assert user.wait("followed")["TrainingJobStatus"] == "Stopped"


def test_stopping_a_job_ends_its_process(user: Any) -> None:
    user.start_endless("stopped")
    user.wait("stopped", "Training")
    user.stop("stopped")
    assert user.describe("stopped")["TrainingJobStatus"] in {"Stopping", "Stopped"}
    job = user.wait("stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][-2:] == ["Stopping", "Stopped"]
    assert "FailureReason" not in job
    assert not processes_of("jobs/stopped/")


def test_a_job_that_exceeds_its_max_runtime_is_stopped(user: Any) -> None:
    user.start_endless("overtime", StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = user.wait("overtime")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert job["TrainingTimeInSeconds"] >= 1
    assert not processes_of("jobs/overtime/")


def test_two_jobs_train_at_once_and_a_queued_job_can_be_stopped(user: Any) -> None:
    names = ["first", "second", "third"]
    for name in names:
        user.start_endless(name)
    for name in names[:2]:
        user.wait(name, "Training")
    assert user.describe("third")["SecondaryStatus"] == "Starting"
    user.stop("third")
    third = user.wait("third")
    assert third["TrainingJobStatus"] == "Stopped"
    assert "TrainingStartTime" not in third
    for name in names[:2]:
        user.stop(name)
        user.wait(name)


def test_invalid_hyperparameters_fail_the_job_with_the_reason_of_the_container(user: Any) -> None:
    job = user.train("bad", HyperParameters={"predictor_type": "regressor", "epochs": "none"})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("ClientError: ")
    assert "epochs" in job["FailureReason"]
    assert job["FailureReason"].endswith(", exit code: 2")
    assert any("Customer Error" in line for line in user.log("bad"))
    assert "ModelArtifacts" not in job


def test_a_prefix_without_objects_fails_the_job(user: Any) -> None:
    job = user.train("empty", InputDataConfig=user.channel(f"s3://{BUCKET}/nothing/"))
    assert job["FailureReason"].startswith(
        f'ClientError: No S3 objects found under S3 URL "s3://{BUCKET}/nothing/" given in input data source. '
    )
    assert ROLE_ARN in job["FailureReason"]


def test_a_missing_input_bucket_fails_the_job(user: Any) -> None:
    job = user.train("no-bucket", InputDataConfig=user.channel("s3://missing/train/"))
    assert job["FailureReason"].startswith("ClientError: No S3 objects found under S3 URL")


def test_a_missing_output_bucket_fails_the_job_after_training(user: Any) -> None:
    job = user.train("no-output-bucket", OutputDataConfig={"S3OutputPath": "s3://missing/models"})
    assert job["FailureReason"] == (
        "ClientError: Artifact upload failed:Error 7: NoSuchBucket (404): The specified bucket does not exist"
    )
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][-3:] == ["Training", "Uploading", "Failed"]


def test_an_image_of_another_algorithm_fails_the_job(user: Any) -> None:
    specification = {
        "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/xgboost:1",
        "TrainingInputMode": "File",
    }
    job = user.train("xgboost", AlgorithmSpecification=specification)
    assert "xgboost:1" in job["FailureReason"]
    assert "linear-learner" in job["FailureReason"]


def test_an_image_of_any_region_is_accepted(user: Any) -> None:
    image = "438346466558.dkr.ecr.eu-west-1.amazonaws.com/linear-learner:latest"
    specification = {"TrainingImage": image, "TrainingInputMode": "File"}
    assert user.train("europe", AlgorithmSpecification=specification)["TrainingJobStatus"] == "Completed"


def test_a_channel_can_have_one_object_or_many(user: Any) -> None:
    rows = user.read("train/rows.csv").splitlines(keepends=True)
    user.s3.put_object(Bucket=BUCKET, Key="parts/", Body=b"")
    user.s3.put_object(Bucket=BUCKET, Key="parts/a/1.csv", Body=b"".join(rows[:20]))
    user.s3.put_object(Bucket=BUCKET, Key="parts/b 2.csv", Body=b"".join(rows[20:]))
    for name, uri in (("one-object", "train/rows.csv"), ("part-of-a-name", "parts/b"), ("many", "parts/")):
        job = user.train(name, InputDataConfig=user.channel(f"s3://{BUCKET}/{uri}"))
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]


def test_a_key_outside_the_channels_folder_fails_the_job(user: Any) -> None:
    user.s3.put_object(Bucket=BUCKET, Key="outside/../../../../escaped.csv", Body=b"1,2\n")
    job = user.train("outside", InputDataConfig=user.channel(f"s3://{BUCKET}/outside/"))
    assert "is outside the channel" in job["FailureReason"]


def test_spot_fields_are_accepted_and_returned(user: Any) -> None:
    condition = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}
    checkpoints = {"S3Uri": f"s3://{BUCKET}/checkpoints/", "LocalPath": "/opt/ml/checkpoints"}
    job = user.train("spot", EnableManagedSpotTraining=True, StoppingCondition=condition, CheckpointConfig=checkpoints)
    assert job["EnableManagedSpotTraining"]
    assert job["CheckpointConfig"] == checkpoints
    assert job["StoppingCondition"] == condition
    assert job["TrainingJobStatus"] == "Completed"
