"""The champion's predictions for the test rows, through its own schema, or why it cannot be compared on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aws.workspace import Workspace
from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from linear_learner.predictor import name_classes
from linear_learner.schema import AnyColumn, Schema
from tasks.data.cells import InvalidCellError
from tasks.data.conversion import MISSING_VALUES
from tasks.data.encoder import encode_frame
from tasks.data.parallel import map_files, prefetch
from tasks.data.reader import TableFile
from tasks.data.source import TablePart
from tasks.load import Table
from tasks.parameters import Reading
from tasks.split import Rows

MAX_NAMES = 5
"""The most columns and classes that an objection lists."""
BLOCK_CELLS = 1 << 22
"""Features that are encoded at a time."""


@dataclass(frozen=True)
class EvaluationRows:
    """The test rows of the table, and this run's `features` (rows, features) of them."""

    table: Table
    rows: Rows
    schema: Schema
    features: NDArray[np.float32]


@dataclass(frozen=True)
class Champion:
    """A model to compare with; without a schema, the names of its features may be unknown.

    With `swapped`, class 1 of the binary model is class 0 of the predictions, and class 0 is class 1.
    """

    model: LinearModel
    schema: Schema | None
    swapped: bool = False

    def predict(self, features: NDArray[np.float32]) -> Predictions:
        """The predictions, which are not finite for features that are too large for the model."""
        with np.errstate(over="ignore", invalid="ignore"):
            predictions = self.model.predict(features)
            if not self.swapped or predictions.labels is None:
                return predictions
            # Not 1 - p, which is 1 for all p below 6e-8.
            opposite = replace(self.model, weights=-self.model.weights, bias=-self.model.bias)
            return Predictions(opposite.predict(features).scores, 1 - predictions.labels)


def score_champion(
    workspace: Workspace, champion: Champion, model: LinearModel, test: EvaluationRows
) -> tuple[Predictions | None, str | None]:
    """Return the champion's predictions for the test rows, with the classes of `model`; or why there are none."""
    if objection := _explain_other_model(champion, model, test.schema):
        return None, objection
    champion = _reorder_classes(champion, model, test.schema)
    if aligned := _align_features(champion, test.schema):
        found: Predictions | str = aligned.predict(test.features)
    elif champion.schema:
        found = _score_table(workspace, champion, champion.schema, test)
    else:
        found = _explain_other_features(champion.model.feature_names, test.schema.features)
    if isinstance(found, str):
        return None, found
    finite = np.isfinite(found.scores).reshape(len(found.scores), -1).all(axis=1)
    if not finite.all():
        return None, f"its prediction for row {finite.argmin() + 1} of the test set is not finite."
    return found, None


def _explain_other_model(champion: Champion, model: LinearModel, schema: Schema) -> str | None:
    """Return why the champion predicts something else; None if it does not."""
    other, named = champion.model, champion.schema is not None
    if other.predictor_type != model.predictor_type or (not named and len(other.bias) != len(model.bias)):
        return f"it is a {_describe_kind(other)}, and this model is a {_describe_kind(model)}."
    if champion.schema is None:
        return None
    theirs, ours = name_classes(other, champion.schema), name_classes(model, schema)
    if set(theirs) != set(ours):
        return f"its classes are others: {_describe_difference(theirs, ours)}."
    if schema.label.name in champion.schema.sources:
        return f"it uses the column {schema.label.name!r}, which this model predicts."
    return None


def _describe_kind(model: LinearModel) -> str:
    outputs = model.weights.shape[1]
    return f"{model.predictor_type} of {outputs} classes" if outputs > 1 else model.predictor_type


def _describe_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Return what only the champion has, and what only this model has: `it uses 'a', 'b' and lacks 'c'`."""
    known, used = set(ours), set(theirs)
    removed, new = [one for one in theirs if one not in known], [one for one in ours if one not in used]
    parts = [f"{verb} {_join(some)}" for verb, some in (("uses", removed), ("lacks", new)) if some]
    return f"it {' and '.join(parts)}"


def _join(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:MAX_NAMES])) + ", …" * (len(names) > MAX_NAMES)


def _explain_other_features(recorded: Sequence[str] | None, features: Sequence[str]) -> str:
    if recorded is None:
        return "it has a different number of features."
    return f"{_describe_difference(recorded, features)}."


def _reorder_classes(champion: Champion, model: LinearModel, schema: Schema) -> Champion:
    """Return the champion with its classes in the order of this model's."""
    if champion.schema is None or model.predictor_type == "regressor":
        return champion
    theirs, ours = name_classes(champion.model, champion.schema), name_classes(model, schema)
    places = {name: index for index, name in enumerate(theirs)}
    order = [places[name] for name in ours]
    if model.predictor_type == "binary_classifier":
        return replace(champion, swapped=order != [0, 1])
    weights, bias = champion.model.weights[:, order], champion.model.bias[order]
    return replace(champion, model=replace(champion.model, weights=weights, bias=bias))


def _align_features(champion: Champion, schema: Schema) -> Champion | None:
    """Return the champion with a weight for each of this run's features; None if they do not include all of its own."""
    places = _find_features(champion, schema)
    if places is None:
        return None
    model = champion.model
    weights = np.zeros((len(schema.features), len(model.bias)), np.float32)
    weights[places] = model.weights
    return replace(champion, model=replace(model, weights=weights, feature_names=schema.features))


def _find_features(champion: Champion, schema: Schema) -> list[int] | None:
    """Return the index of each of the champion's features among this run's; None if one is not among them."""
    theirs, names, features = champion.schema, champion.model.feature_names, schema.features
    if theirs is None and names is None:
        # A model from another source has no record: its features are assumed to be the same, in the same order.
        return list(range(len(features))) if len(champion.model.weights) == len(features) else None
    if theirs is None:
        places = {name: index for index, name in enumerate(features)}
        return [places[name] for name in names or ()] if sorted(names or ()) == sorted(features) else None
    if theirs.missing_values != schema.missing_values:
        return None
    of_column = _places_by_column(schema)
    if not of_column.keys() >= set(theirs.columns):
        return None
    return [place for column in theirs.columns for place in of_column[column]]


def _places_by_column(schema: Schema) -> dict[AnyColumn, range]:
    """The indices of the features of each column; equal columns of two schemas have the same features."""
    found, start = {}, 0
    for column in schema.columns:
        end = start + len(column.feature_names)
        found[column] = range(start, end)
        start = end
    return found


def _score_table(workspace: Workspace, champion: Champion, schema: Schema, test: EvaluationRows) -> Predictions | str:
    """Read the champion's columns of the test rows, and return its predictions in the order of the test channel."""
    table = test.table
    numbers = test.rows.row_numbers(workspace, table)["test"]
    order = np.argsort(numbers)
    ends = np.cumsum(table.part_rows)
    of_file = np.split(numbers[order], np.searchsorted(numbers[order], ends[:-1]))
    starts = [0, *ends[:-1].tolist()]
    read = [(part, rows - start) for part, rows, start in zip(table.parts, of_file, starts, strict=True) if len(rows)]
    parts, rows_of_parts = zip(*read, strict=True)
    # The cells are missing that were missing for the champion.
    missing = tuple(text for text in schema.missing_values if text not in MISSING_VALUES)
    reading = table.reading.model_copy(update={"missing": missing})
    options = {"champion": champion, "schema": schema, "reading": reading}
    found = map_files(workspace, score_champion_on_file, parts, rows_of_parts, **options)
    if objections := [one for one in found if isinstance(one, str)]:
        return objections[0]
    return _join_predictions([one for one in found if not isinstance(one, str)], order)


def _join_predictions(parts: Sequence[Predictions], order: NDArray[np.intp]) -> Predictions:
    """The predictions of all parts, of which the n-th row is moved to the place order[n]."""
    labels = [part.labels for part in parts if part.labels is not None]
    return Predictions(_place([part.scores for part in parts], order), _place(labels, order) if labels else None)


def _place(parts: Sequence[NDArray[np.float32]], order: NDArray[np.intp]) -> NDArray[np.float32]:
    joined = np.concatenate(parts)
    placed = np.empty_like(joined)
    placed[order] = joined
    return placed


def score_champion_on_file(  # noqa: PLR0913, PLR0917 - a file, how it is read, and what is computed
    workspace: Workspace,
    part: TablePart,
    rows: NDArray[np.intp],
    champion: Champion,
    schema: Schema,
    reading: Reading,
) -> Predictions | str:
    """Return the champion's predictions for these rows of a file, ascending from 0; or why there are none."""
    file = TableFile.of(workspace, part, reading)
    try:
        absent = [column.name for column in schema.columns if column.name not in file.names]
        if absent:
            return f"it uses {_join(absent)}, and {file.name} has no such column{'s' * (len(absent) > 1)}."
        return _join_predictions(list(_score_blocks(file, rows, champion, schema)), np.arange(len(rows)))
    except DataError as error:
        return f"its columns cannot be read: {error}."


def _score_blocks(file: TableFile, rows: NDArray[np.intp], champion: Champion, schema: Schema) -> Iterator[Predictions]:
    """Yield the predictions for the rows; only the cells of a chunk and the features of a block are in memory."""
    frames = file.chunks([column.name for column in schema.columns])
    size, start = max(1, BLOCK_CELLS // max(1, len(schema.features))), 0
    for frame in prefetch(frames, f"scoring the champion on {file.name}"):
        first, end = np.searchsorted(rows, [start, start + frame.height])
        for block in (rows[index : min(index + size, end)] for index in range(first, end, size)):
            try:
                features = encode_frame(frame[block - start], schema)
            except InvalidCellError as error:
                raise DataError(f"{file.name}, {error.with_row(int(block[error.index]) + 1)}") from error
            yield champion.predict(features)
        start += frame.height
