"""Fixtures: sandboxes, and users that call them over HTTP with plain boto3."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest

from sandbox.account import BUCKET, ROLE_ARN
from sandbox.server import Sandbox, make_client

IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
ROWS = "".join(f"{3 * i + 1},{i},{i % 7}\n" for i in range(40)).encode()
MANY_ROWS = 500 * ROWS
QUICK = {"predictor_type": "regressor", "mini_batch_size": "10", "epochs": "2", "num_models": "2"}
ENDLESS = QUICK | {"epochs": "1000000", "early_stopping_patience": "1000000"}


class User:
    """A client with boto3, training rows in a bucket, and methods to run training jobs."""

    def __init__(self, sandbox: Sandbox, endpoint_url: str = "") -> None:
        self.sandbox = sandbox
        self.client = partial(make_client, endpoint_url=endpoint_url or sandbox.endpoint_url)
        self.s3 = self.client("s3")
        self.s3.put_object(Bucket=BUCKET, Key="train/rows.csv", Body=ROWS)
        self.s3.put_object(Bucket=BUCKET, Key="many/rows.csv", Body=MANY_ROWS)

    @cached_property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    @cached_property
    def logs(self) -> Any:
        return self.client("logs")

    @staticmethod
    def channel(uri: str) -> list[dict[str, Any]]:
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
        return [{"ChannelName": "train", "ContentType": "text/csv", "DataSource": source}]

    def request(self, name: str, **changes: Any) -> dict[str, Any]:
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": ROLE_ARN,
            "HyperParameters": QUICK,
            "InputDataConfig": self.channel(f"s3://{BUCKET}/train/"),
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models/"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        } | changes

    def start(self, name: str, **changes: Any) -> str:
        arn: str = self.sagemaker.create_training_job(**self.request(name, **changes))["TrainingJobArn"]
        return arn

    def start_endless(self, name: str, **changes: Any) -> None:
        """Start a job that trains for hours and writes few log lines per second."""
        self.start(name, HyperParameters=ENDLESS, InputDataConfig=self.channel(f"s3://{BUCKET}/many/"), **changes)

    def describe(self, name: str) -> dict[str, Any]:
        job: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        del job["ResponseMetadata"]
        return job

    def wait(self, name: str, *until: str) -> dict[str, Any]:
        """Wait until the status or secondary status is one of these, by default a final one; returns the job."""
        expected = set(until or ("Completed", "Failed", "Stopped"))
        deadline = time.monotonic() + 60
        while not {(job := self.describe(name))["TrainingJobStatus"], job["SecondaryStatus"]} & expected:
            assert time.monotonic() < deadline, job
            time.sleep(0.02)
        return job

    def train(self, name: str, **changes: Any) -> dict[str, Any]:
        self.start(name, **changes)
        return self.wait(name)

    def stop(self, name: str) -> None:
        self.sagemaker.stop_training_job(TrainingJobName=name)

    def log(self, name: str) -> list[str]:
        """The lines so far; none before the log stream exists."""
        try:
            found = self.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            found = []
        if not found:
            return []
        assert len(found) == 1
        stream = {"logGroupName": LOG_GROUP, "logStreamName": found[0]["logStreamName"], "startFromHead": True}
        lines: list[str] = []
        while (response := self.logs.get_log_events(**stream))["events"]:
            lines += [event["message"] for event in response["events"]]
            stream["nextToken"] = response["nextForwardToken"]
        return lines

    def object_keys(self, bucket: str = BUCKET) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def read(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content


@pytest.fixture(scope="session")
def initial_state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a new sandbox that was started once."""
    folder = tmp_path_factory.mktemp("initial")
    sandbox = Sandbox(folder)
    sandbox.start()
    sandbox.wait_until_ready()
    sandbox.stop()
    return folder


@pytest.fixture
def state_dir(initial_state_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(initial_state_dir, tmp_path / "state")


@pytest.fixture
def connect() -> Callable[[str], User]:
    """Return a user of the sandbox at the endpoint of another process."""
    return lambda endpoint_url: User(Sandbox(Path()), endpoint_url)


@pytest.fixture(scope="module")
def user(initial_state_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    sandbox = Sandbox(shutil.copytree(initial_state_dir, tmp_path_factory.mktemp("served") / "state"))
    sandbox.start()
    yield User(sandbox)
    sandbox.stop()


@pytest.fixture
def restart(state_dir: Path) -> Iterator[Callable[[], User]]:
    """Each call stops the running server, if any, and starts another on the same folder."""
    running: list[Sandbox] = []

    def restart_server() -> User:
        while running:
            running.pop().stop()
        sandbox = Sandbox(state_dir)
        sandbox.start()
        running.append(sandbox)
        return User(sandbox)

    yield restart_server
    while running:
        running.pop().stop()
