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
    job: dict[str, Any] = user.train("completed", Environment={"NOTE": "kept"})
    return job


@pytest.fixture(autouse=True)
def nothing_left_running(user: Any) -> Iterator[None]:
    """A test that fails must not take the others' turn to train."""
    yield
    for summary in user.sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        user.stop(summary["TrainingJobName"])


def processes_of(folder: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if folder in line and "linear_learner" in line]


def test_a_completed_job_went_through_every_stage_in_the_services_words(completed: dict[str, Any]) -> None:
    assert (completed["TrainingJobStatus"], completed["SecondaryStatus"]) == ("Completed", "Completed")
    assert [(t["Status"], t["StatusMessage"]) for t in completed["SecondaryStatusTransitions"]] == [
        ("Starting", "Starting the training job"),
        ("Downloading", "Downloading input data"),
        ("Training", "Training image download completed. Training in progress."),
        ("Uploading", "Uploading generated training model"),
        ("Completed", "Training job completed"),
    ]


def test_transitions_follow_each_other_without_gaps(completed: dict[str, Any]) -> None:
    transitions = completed["SecondaryStatusTransitions"]
    assert completed["CreationTime"] <= transitions[0]["StartTime"]
    assert [t["EndTime"] for t in transitions[:-1]] == [t["StartTime"] for t in transitions[1:]]
    assert transitions[1]["StartTime"] == completed["TrainingStartTime"]
    assert transitions[-1]["EndTime"] == completed["TrainingEndTime"] == completed["LastModifiedTime"]


def test_the_paid_seconds_are_the_training_time_rounded_up(completed: dict[str, Any]) -> None:
    elapsed = (completed["TrainingEndTime"] - completed["TrainingStartTime"]).total_seconds()
    assert elapsed <= completed["TrainingTimeInSeconds"] <= elapsed + 1
    assert completed["BillableTimeInSeconds"] == completed["TrainingTimeInSeconds"]


def test_describe_echoes_the_request(user: Any, completed: dict[str, Any]) -> None:
    request = user.request("completed", Environment={"NOTE": "kept"})
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


def test_the_model_is_an_archive_that_predicts(user: Any, completed: dict[str, Any], tmp_path: Any) -> None:
    uri = completed["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{BUCKET}/models/completed/output/model.tar.gz"
    content = user.read("models/completed/output/model.tar.gz")
    (tmp_path / "model.tar.gz").write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["model_algo-1"]
    assert read_model(tmp_path / "model.tar.gz").weights.shape == (2, 1)


def test_equal_jobs_give_equal_bytes(user: Any, completed: dict[str, Any]) -> None:
    time.sleep(1.1)  # an archive that held the time would differ
    again = user.train("again", HyperParameters=completed["HyperParameters"])
    first, second = (user.read(f"models/{name}/output/model.tar.gz") for name in ("completed", "again"))
    assert again["TrainingJobStatus"] == "Completed"
    assert first == second
    assert gzip.decompress(first) != b""


def test_the_log_is_in_cloudwatch_line_by_line(user: Any, completed: dict[str, Any]) -> None:
    lines = user.log("completed")
    assert sum("#quality_metric: host=algo-1, epoch=" in line for line in lines) >= 2
    assert any("Best model found for hyperparameters" in line for line in lines)
    assert all("\n" not in line for line in lines)
    assert completed["SecondaryStatus"] == "Completed"


def test_final_metrics_are_the_logs_last_values(user: Any, completed: dict[str, Any]) -> None:
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
    give_up = time.monotonic() + 30
    while not any("epoch=" in line for line in user.log("followed")) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert user.describe("followed")["TrainingJobStatus"] == "InProgress"
    user.stop("followed")
    assert user.wait("followed")["TrainingJobStatus"] == "Stopped"


def test_a_stopped_job_is_stopping_and_then_stopped_and_its_process_missing(user: Any) -> None:
    user.start_endless("stopped")
    user.wait("stopped", "Training")
    user.stop("stopped")
    assert user.describe("stopped")["TrainingJobStatus"] in {"Stopping", "Stopped"}
    job = user.wait("stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][-2:] == ["Stopping", "Stopped"]
    assert "FailureReason" not in job
    assert not processes_of("jobs/stopped/")


def test_a_job_over_its_time_is_stopped_by_the_service(user: Any) -> None:
    user.start_endless("overtime", StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = user.wait("overtime")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert job["TrainingTimeInSeconds"] >= 1
    assert not processes_of("jobs/overtime/")


def test_only_two_jobs_train_at_once_and_the_third_can_be_stopped_while_it_waits(user: Any) -> None:
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


def test_bad_hyperparameters_fail_the_job_with_the_containers_reason(user: Any) -> None:
    job = user.train("bad", HyperParameters={"predictor_type": "regressor", "epochs": "none"})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("ClientError: ")
    assert "epochs" in job["FailureReason"]
    assert job["FailureReason"].endswith(", exit code: 2")
    assert any("Customer Error" in line for line in user.log("bad"))
    assert "ModelArtifacts" not in job


def test_a_prefix_that_holds_nothing_fails_the_job(user: Any) -> None:
    job = user.train("empty", InputDataConfig=user.channel(f"s3://{BUCKET}/nothing/"))
    assert job["FailureReason"].startswith(
        f'ClientError: No S3 objects found under S3 URL "s3://{BUCKET}/nothing/" given in input data source. '
    )
    assert ROLE_ARN in job["FailureReason"]


def test_a_bucket_that_is_not_there_holds_nothing(user: Any) -> None:
    job = user.train("no-bucket", InputDataConfig=user.channel("s3://never-made/train/"))
    assert job["FailureReason"].startswith("ClientError: No S3 objects found under S3 URL")


def test_a_missing_output_bucket_is_noticed_only_after_training(user: Any) -> None:
    job = user.train("nowhere", OutputDataConfig={"S3OutputPath": "s3://never-made/models"})
    assert job["FailureReason"] == (
        "ClientError: Artifact upload failed:Error 7: NoSuchBucket (404): The specified bucket does not exist"
    )
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][-3:] == ["Training", "Uploading", "Failed"]


def test_another_algorithms_image_fails_the_job(user: Any) -> None:
    specification = {
        "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/xgboost:1",
        "TrainingInputMode": "File",
    }
    job = user.train("xgboost", AlgorithmSpecification=specification)
    assert "xgboost:1" in job["FailureReason"]
    assert "linear-learner" in job["FailureReason"]


def test_an_image_of_any_region_will_do(user: Any) -> None:
    image = "438346466558.dkr.ecr.eu-west-1.amazonaws.com/linear-learner:latest"
    specification = {"TrainingImage": image, "TrainingInputMode": "File"}
    assert user.train("europe", AlgorithmSpecification=specification)["TrainingJobStatus"] == "Completed"


def test_a_channel_may_be_one_object_or_many(user: Any) -> None:
    rows = user.read("train/rows.csv").splitlines(keepends=True)
    user.s3.put_object(Bucket=BUCKET, Key="parts/", Body=b"")
    user.s3.put_object(Bucket=BUCKET, Key="parts/a/1.csv", Body=b"".join(rows[:20]))
    user.s3.put_object(Bucket=BUCKET, Key="parts/b 2.csv", Body=b"".join(rows[20:]))
    for name, uri in (("one-object", "train/rows.csv"), ("part-of-a-name", "parts/b"), ("many", "parts/")):
        job = user.train(name, InputDataConfig=user.channel(f"s3://{BUCKET}/{uri}"))
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]


def test_a_key_that_leads_out_of_the_channel_fails_the_job(user: Any) -> None:
    user.s3.put_object(Bucket=BUCKET, Key="tricky/../../../../escaped.csv", Body=b"1,2\n")
    job = user.train("tricky", InputDataConfig=user.channel(f"s3://{BUCKET}/tricky/"))
    assert "leads out of the channel" in job["FailureReason"]


def test_spot_fields_are_accepted_and_echoed(user: Any) -> None:
    condition = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}
    checkpoints = {"S3Uri": f"s3://{BUCKET}/checkpoints/", "LocalPath": "/opt/ml/checkpoints"}
    job = user.train("spot", EnableManagedSpotTraining=True, StoppingCondition=condition, CheckpointConfig=checkpoints)
    assert job["EnableManagedSpotTraining"]
    assert job["CheckpointConfig"] == checkpoints
    assert job["StoppingCondition"] == condition
    assert job["TrainingJobStatus"] == "Completed"
