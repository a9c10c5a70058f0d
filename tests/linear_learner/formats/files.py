"""Test helpers that write complete files in the algorithm's formats."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from linear_learner.formats.artifact import pack_model, write_model
from linear_learner.formats.recordio import write_columns, write_tensors
from linear_learner.formats.recordio_wire import FEATURES
from linear_learner.model import LinearModel


def write_archive(model: LinearModel, path: Path) -> None:
    """Write a model's `model.tar.gz`, like a training job."""
    with TemporaryDirectory() as folder:
        pack_model(write_model(model, Path(folder)).read_bytes(), path)


def records(features: NDArray[np.generic], labels: NDArray[np.generic] | None = None) -> bytes:
    """A RecordIO file of these features (rows, features) and labels (rows,)."""
    stream = io.BytesIO()
    if labels is None:
        write_tensors(stream, [(FEATURES, "values", list(features.T))])
    else:
        write_columns(stream, labels, list(features.T))
    return stream.getvalue()
