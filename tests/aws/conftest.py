"""Training jobs to submit and to follow."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from aws.compute import Compute
from aws.training_job import ChannelInput, TrainingJobSpec, specify
from aws.workspace import Workspace

QUICK = {"predictor_type": "regressor", "mini_batch_size": "10", "epochs": "2", "num_models": "2"}
ENDLESS = QUICK | {"epochs": "1000000", "early_stopping_patience": "1000000"}
ROWS = "".join(f"{3 * i + 1},{i},{i % 7}\n" for i in range(40)).encode()

MakeSpec = Callable[..., TrainingJobSpec]


@pytest.fixture
def make_spec(workspace: Workspace, put_object: Callable[[str, bytes], str]) -> Iterator[MakeSpec]:
    """Makes jobs that no other test has: two epochs long, or endless; whatever still runs is stopped afterwards."""
    made: list[TrainingJobSpec] = []

    def make(*, endless: bool = False, **changes: str) -> TrainingJobSpec:
        put_object("train/rows.csv", ROWS * (500 if endless else 1))
        channel = ChannelInput(
            name="train", uri=workspace.uri("train") + "/", content_type="text/csv", sha256=uuid.uuid4().hex
        )
        spec = specify(workspace, {**(ENDLESS if endless else QUICK), **changes}, (channel,), Compute())
        made.append(spec)
        return spec

    yield make
    client = workspace.client("sagemaker")
    for spec in made:
        for job in client.list_training_jobs(NameContains=spec.name(1), StatusEquals="InProgress")[
            "TrainingJobSummaries"
        ]:
            client.stop_training_job(TrainingJobName=job["TrainingJobName"])
