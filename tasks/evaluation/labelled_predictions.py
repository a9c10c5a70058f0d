"""Evaluate the predictions in files against the labels that their rows have."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from aws.workspace import Workspace
from linear_learner.errors import DataError
from linear_learner.model import Predictions
from linear_learner.schema import Schema
from tasks.data.cells import InvalidCellError, canonical_texts, require, to_numbers
from tasks.data.reader import TableFile
from tasks.data.scoring import Scorer
from tasks.data.source import find_table, remove_local_copies
from tasks.evaluation.assessment import assess
from tasks.evaluation.results import Evaluation
from tasks.parameters import Gate, Reading

_LABEL = "(label)"


def evaluate_predictions(workspace: Workspace, outputs: Sequence[str], scorer: Scorer) -> Evaluation:
    """Return the metrics of the predictions in `outputs`, which have the target column; unlabelled rows do not count.

    Raises DataError, with file and row, for a label that the model does not know, and when no row has a label.
    """
    frames = [frame for output in outputs for frame in _read(workspace, output, scorer)]
    rows = pl.concat(frames)
    if not rows.height:
        raise DataError(f"No row has a value in {scorer.schema.label.name!r}, so nothing can be evaluated.")
    names, scores = scorer.class_names, rows.drop(_LABEL, "prediction").to_numpy()
    predicted = rows["prediction"]
    if not names:
        predictions = Predictions(predicted.cast(pl.Float32).to_numpy(), None)
    else:
        codes = predicted.replace_strict(list(names), range(len(names)), return_dtype=pl.Float32).to_numpy()
        predictions = Predictions(scores if len(names) > 2 else np.ascontiguousarray(scores[:, -1]), codes)
    labels = rows[_LABEL].to_numpy()
    return assess(scorer.model, labels, predictions, Gate(), class_names=scorer.schema.label.classes)


def _read(workspace: Workspace, output: str, scorer: Scorer) -> Iterator[pl.DataFrame]:
    """The labels and the predictions of the rows that have a label."""
    label, row = scorer.schema.label.name, 1
    [part] = find_table(workspace, output).parts
    for frame in TableFile.of(workspace, part, Reading()).chunks([label, *scorer.prediction_columns]):
        try:
            labels = _to_labels(frame[label], scorer.schema)
        except InvalidCellError as error:
            raise DataError(f"{output}, {error.with_row(row + error.index)}") from error
        row += frame.height
        prediction, *scores = (frame[name] for name in scorer.prediction_columns)
        texts = canonical_texts(prediction) if scorer.class_names else prediction.cast(pl.Float64)
        columns = [labels.alias(_LABEL), texts.alias("prediction"), *(one.cast(pl.Float32) for one in scores)]
        yield pl.DataFrame(columns).filter(pl.col(_LABEL).is_not_null())
    remove_local_copies([part])


def _to_labels(cells: pl.Series, schema: Schema) -> pl.Series:
    """The numbers that the algorithm would get for these labels; null where a cell is missing."""
    if not schema.label.classes:
        return to_numbers(cells).cast(pl.Float32)
    texts, classes = canonical_texts(cells), list(schema.label.classes)
    codes = texts.replace_strict(classes, range(len(classes)), default=None, return_dtype=pl.Float32)
    require(cells, texts.is_null() | codes.is_not_null(), "is none of the classes that the model predicts")
    return codes
