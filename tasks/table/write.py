"""Rows as a training job reads them: target first, no header, as CSV or RecordIO-protobuf."""

import os
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from linear_learner.recordio import write_columns
from tasks.parameters import Format


def write_rows(frames: Iterable[pl.DataFrame], target: str, path: Path, form: Format) -> None:
    """Write the frames one after another; nothing half-written keeps the name.

    CSV is what pandas' to_csv writes but for numbers below 1e-4, which it would give an exponent.
    """
    half = path.with_name(f"{path.name}.{os.getpid()}")  # another run may be writing the same
    half.parent.mkdir(parents=True, exist_ok=True)
    with half.open("wb") as file:
        for frame in frames:
            ordered = frame.select(target, pl.exclude(target))
            if form == "csv":
                ordered.write_csv(file, include_header=False)
            else:
                label, *features = (column.to_numpy() for column in ordered)
                write_columns(file, label, features)
    half.replace(path)
