"""Sandboxes to test against as a user would: over HTTP, with plain boto3."""

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
    """Someone with boto3, a bucket with training rows, and training jobs to run."""

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
        """A job that is busy for hours, with a log one can keep up with."""
        self.start(name, HyperParameters=ENDLESS, InputDataConfig=self.channel(f"s3://{BUCKET}/many/"), **changes)

    def describe(self, name: str) -> dict[str, Any]:
        job: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        del job["ResponseMetadata"]
        return job

    def wait(self, name: str, *until: str) -> dict[str, Any]:
        """The job once its status or secondary status is one of these; by default once it is over."""
        wanted = set(until or ("Completed", "Failed", "Stopped"))
        give_up = time.monotonic() + 60
        while not {(job := self.describe(name))["TrainingJobStatus"], job["SecondaryStatus"]} & wanted:
            assert time.monotonic() < give_up, job
            time.sleep(0.02)
        return job

    def train(self, name: str, **changes: Any) -> dict[str, Any]:
        self.start(name, **changes)
        return self.wait(name)

    def stop(self, name: str) -> None:
        self.sagemaker.stop_training_job(TrainingJobName=name)

    def log(self, name: str) -> list[str]:
        """The lines so far; none before the job has written its first."""
        try:
            found = self.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            found = []
        if not found:
            return []
        assert len(found) == 1
        place = {"logGroupName": LOG_GROUP, "logStreamName": found[0]["logStreamName"], "startFromHead": True}
        lines: list[str] = []
        while (answer := self.logs.get_log_events(**place))["events"]:
            lines += [event["message"] for event in answer["events"]]
            place["nextToken"] = answer["nextForwardToken"]
        return lines

    def object_keys(self, bucket: str = BUCKET) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def read(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sandbox that was started once and holds what a new one holds."""
    folder = tmp_path_factory.mktemp("made")
    sandbox = Sandbox(folder)
    sandbox.start()
    sandbox.wait_until_ready()
    sandbox.stop()
    return folder


@pytest.fixture
def state_dir(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "state")


@pytest.fixture
def visit() -> Callable[[str], User]:
    """Someone who was told the endpoint of another process."""
    return lambda endpoint_url: User(Sandbox(Path()), endpoint_url)


@pytest.fixture(scope="module")
def user(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    sandbox = Sandbox(shutil.copytree(made, tmp_path_factory.mktemp("served") / "state"))
    sandbox.start()
    yield User(sandbox)
    sandbox.stop()


@pytest.fixture
def restart(state_dir: Path) -> Iterator[Callable[[], User]]:
    """Each call ends the server of one folder, if there is one, and starts the next."""
    running: list[Sandbox] = []

    def restarted() -> User:
        while running:
            running.pop().stop()
        sandbox = Sandbox(state_dir)
        sandbox.start()
        running.append(sandbox)
        return User(sandbox)

    yield restarted
    while running:
        running.pop().stop()
