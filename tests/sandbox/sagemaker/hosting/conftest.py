"""Fixtures: a sandbox whose endpoints change 300 times as fast as on AWS, two models, and a client of them."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from linear_learner.formats.artifact import pack_model, write_model
from linear_learner.model import LinearModel
from sandbox import faults
from sandbox.account import BUCKET, ROLE_ARN
from sandbox.server import Sandbox, make_client

SPEED = 300.0
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"
ROW = b"1,2"
SCORES = {"old": 3.5, "new": 4.5}
"""The score of ROW by model."""


def archive(folder: Path, weight: float) -> bytes:
    """The model.tar.gz of a regressor with the score weight * x + y + 0.5."""
    weights, bias = np.array([[weight], [1.0]], np.float32), np.array([0.5], np.float32)
    model = LinearModel("regressor", "squared_loss", weights, bias)
    pack_model(write_model(model, folder).read_bytes(), folder / "model.tar.gz")
    return (folder / "model.tar.gz").read_bytes()


class Client:
    """A client of endpoints, with boto3 over HTTP."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.client = partial(make_client, endpoint_url=sandbox.endpoint_url, retries={"max_attempts": 0})
        self.sagemaker = self.client("sagemaker")
        self.runtime = self.client("sagemaker-runtime", max_pool_connections=20)

    @cached_property
    def s3(self) -> Any:
        return self.client("s3")

    @cached_property
    def cloudwatch(self) -> Any:
        return self.client("cloudwatch")

    def put_models(self, folder: Path) -> None:
        """Create the models and endpoint configurations `old` and `new`, with two instances each."""
        for name, weight in (("old", 1.0), ("new", 2.0)):
            self.s3.put_object(Bucket=BUCKET, Key=f"{name}.tar.gz", Body=archive(folder, weight))
            self.create_model(name)
            self.create_config(name, name)

    def create_model(self, name: str, key: str = "", **changes: Any) -> str:
        container = {"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/{key or name}{'' if key else '.tar.gz'}"}
        request = {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": ROLE_ARN} | changes
        arn: str = self.sagemaker.create_model(**request)["ModelArn"]
        return arn

    def create_config(self, name: str, model: str, instances: int = 2, **changes: Any) -> str:
        variant = {"VariantName": "main", "ModelName": model}
        variant |= changes.pop("variant", {"InitialInstanceCount": instances, "InstanceType": "ml.m5.large"})
        request = {"EndpointConfigName": name, "ProductionVariants": [variant]} | changes
        arn: str = self.sagemaker.create_endpoint_config(**request)["EndpointConfigArn"]
        return arn

    def create(self, name: str, config: str = "old") -> dict[str, Any]:
        """Create an endpoint and return its description when it is no longer Creating."""
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return self.wait(name)

    def update(self, name: str, config: str = "new", **changes: Any) -> None:
        self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **changes)

    def describe(self, name: str) -> dict[str, Any]:
        endpoint: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
        del endpoint["ResponseMetadata"]
        return endpoint

    def wait(self, name: str, *until: str) -> dict[str, Any]:
        """Wait for one of these statuses, by default until nothing is in progress; returns the description."""
        expected = until or ("InService", "Failed", "UpdateRollbackFailed")
        deadline = time.monotonic() + 60
        while (endpoint := self.describe(name))["EndpointStatus"] not in expected:
            assert time.monotonic() < deadline, endpoint
            time.sleep(0.02)
        return endpoint

    def statuses(self, name: str) -> list[str]:
        """The statuses until nothing is in progress, without repetitions and without RollingBack.

        RollingBack lasts 50 ms here, which is too short to be always seen.
        """
        seen = [self.describe(name)["EndpointStatus"]]
        while seen[-1] not in {"InService", "Failed", "UpdateRollbackFailed"}:
            time.sleep(0.005)
            if (status := self.describe(name)["EndpointStatus"]) != seen[-1]:
                seen.append(status)
        return [status for status in seen if status != "RollingBack"]

    def invoke(self, name: str, body: bytes = ROW, **changes: Any) -> Any:
        return self.runtime.invoke_endpoint(EndpointName=name, **{"Body": body, "ContentType": "text/csv"} | changes)

    def answer(self, name: str) -> float:
        """The score of ROW."""
        [row] = json.loads(self.invoke(name)["Body"].read())["predictions"]
        return float(row["score"])

    def rejection(self, call: str, **arguments: Any) -> str:
        """Code and message of the error of a rejected call of SageMaker."""
        with pytest.raises(ClientError) as caught:
            getattr(self.sagemaker, call)(**arguments)
        error = caught.value.response["Error"]
        return f"{error['Code']}: {error['Message']}"

    @contextmanager
    def load(self, name: str, threads: int = 2) -> Iterator[list[float | Exception]]:
        """Send requests until the block ends; yields the list of answers and errors."""
        answers: list[float | Exception] = []
        ended = threading.Event()

        def send() -> None:
            while not ended.wait(0.004):
                try:
                    answers.append(self.answer(name))
                except Exception as error:  # noqa: BLE001 - each is an answer that a test looks at
                    answers.append(error)

        senders = [threading.Thread(target=send) for _ in range(threads)]
        for sender in senders:
            sender.start()
        try:
            yield answers
        finally:
            ended.set()
            for sender in senders:
                sender.join()


def traffic(
    kind: str = "ALL_AT_ONCE", wait: int = 60, percent: int = 0, alarms: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A DeploymentConfig."""
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": wait}
    if percent:
        size = "CanarySize" if kind == "CANARY" else "LinearStepSize"
        routing[size] = {"Type": "CAPACITY_PERCENT", "Value": percent}
    config: dict[str, Any] = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return config


@pytest.fixture(scope="session")
def deployment_config() -> Callable[..., dict[str, Any]]:
    return traffic


@pytest.fixture(scope="session")
def scores() -> dict[str, float]:
    """The score of ROW by model."""
    return SCORES


@pytest.fixture(scope="module")
def client(initial_state_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("hosting")
    sandbox = Sandbox(shutil.copytree(initial_state_dir, folder / "state"), hosting_speed=SPEED)
    sandbox.start()
    sandbox.wait_until_ready()
    client = Client(sandbox)
    client.put_models(folder)
    yield client
    sandbox.stop()


@pytest.fixture
def inject(client: Client) -> Iterator[Callable[..., None]]:
    """Return a function that injects a fault; afterwards faults are cleared."""
    yield partial(faults.inject, client.sandbox.endpoint_url)
    faults.clear(client.sandbox.endpoint_url)


@pytest.fixture
def restart(client: Client) -> Callable[[], Client]:
    """Stop the sandbox and start it again on the same folder and port."""

    def restart_sandbox() -> Client:
        client.sandbox.stop()
        client.sandbox.start()
        client.sandbox.wait_until_ready()
        return client

    return restart_sandbox
