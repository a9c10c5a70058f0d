"""What people choose about the data, in a form or on the command line. Imports nothing heavy: `--help` reads it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]


class Dataset(BaseModel):
    """The table to train on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Annotated[str, Field(min_length=1)] = "output/transformed_data.csv"
    """CSV file with a header, numbers only: s3://bucket/key.csv, or a key in the workspace's bucket."""
    target: Annotated[str, Field(min_length=1)] = "bonus"
    """Name of the column to predict; all others are features."""


class Split(BaseModel):
    """Which rows train, which decide, which judge; by default 70 %, 20 % and 10 %."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    holdout_size: Share = 0.3
    """Share of all rows kept out of training, between 0 and 1; default 0.3."""
    test_size: Share = 0.33
    """Share of the holdout that becomes the test set, between 0 and 1; the rest validates. Default 0.33."""
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the shuffle: the same seed and table give the same rows in the same order. Default 42."""
