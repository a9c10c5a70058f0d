"""What a training job runs on, as people choose it in a form or on the command line."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Compute(BaseModel):
    """Instances, disk and time limit of the training job."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9\-]+\.[a-z0-9]+$")] = "ml.m5.large"
    """SageMaker instance type, such as ml.m5.large; Linear Learner needs no GPU. The sandbox trains on this machine."""
    instance_count: Annotated[int, Field(ge=1, le=20)] = 1
    """How many instances train together, 1 to 20; the data is copied to each."""
    volume_size_gb: Annotated[int, Field(ge=1, le=16_384)] = 10
    """Disk of each instance in GB, 1 to 16384; it must hold the data."""
    max_runtime_seconds: Annotated[int, Field(ge=60, le=432_000)] = 3600
    """The job is stopped when it trains for longer, 60 to 432000 seconds; this bounds what it can cost."""
