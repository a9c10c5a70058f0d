"""Whole files of the algorithm's formats, for tests."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from linear_learner.formats.artifact import pack_model, write_model
from linear_learner.formats.recordio import FEATURES, write_columns, write_tensors
from linear_learner.model import LinearModel


def write_archive(model: LinearModel, path: Path) -> None:
    """Write the `model.tar.gz` of a model, as a training job does."""
    with TemporaryDirectory() as folder:
        pack_model(write_model(model, Path(folder)).read_bytes(), path)


def records(features: NDArray[np.generic], labels: NDArray[np.generic] | None = None) -> bytes:
    """The RecordIO file of these features (rows, features) and labels (rows,)."""
    stream = io.BytesIO()
    if labels is None:
        write_tensors(stream, [(FEATURES, "values", list(features.T))])
    else:
        write_columns(stream, labels, list(features.T))
    return stream.getvalue()
