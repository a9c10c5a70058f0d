"""Score the rows of a table with a model and its schema, by column name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_learner.columns import list_missing
from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from linear_learner.predictor import find_difference, name_classes, name_outputs, split_scores
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema
from tasks.data.cells import InvalidCellError
from tasks.data.conversion import MISSING_VALUES
from tasks.data.encoder import category_codes, count_texts, fill_missing, read_values, to_float32
from tasks.data.parallel import prefetch
from tasks.data.prediction_writer import check_output_name, write_predictions
from tasks.data.reader import Rows, TableFile
from tasks.data.scoring_statistics import FIRST_ROWS, NumberDistribution, ScoringStatistics, UnseenCategories

_MERGED_CHUNKS = 64

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ScoredRows:
    """Rows of the output: the columns to keep, then the predictions."""

    frame: pl.DataFrame
    statistics: ScoringStatistics

    @property
    def height(self) -> int:
        return self.frame.height


@dataclass(frozen=True)
class Scorer:
    """A model and the schema of its table; `keep` are columns of the table that are copied to the output.

    Raises DataError when the model and the schema do not belong together, or when a column to keep is named like one of
    the output's.
    """

    model: LinearModel
    schema: Schema
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if difference := find_difference(self.model, self.schema):
            raise DataError(f"The schema {difference}. Use the schema.json next to the model's model.tar.gz.")
        if repeated := [name for name in self.keep if name in self.prediction_columns or self.keep.count(name) > 1]:
            raise DataError(
                f"The column {repeated[0]!r} would be in the output twice. Leave it out of the columns to keep, or "
                "rename it in the table."
            )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that the model needs."""
        return tuple(column.name for column in self.schema.columns)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of a classifier's classes; their indices if the schema has none. Empty for a regressor."""
        return name_classes(self.model, self.schema)

    @cached_property
    def prediction_columns(self) -> tuple[str, ...]:
        """The columns of the output after those to keep."""
        return name_outputs(self.model, self.class_names)

    def extra_columns(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """Those of a table's columns that are not used, and were not in the table that the model was trained on.

        Raises DataError, with the names of all of them, if there is no column of the model's, or none to keep.
        """
        needed = [name for name in self.columns if name not in names]
        used = {*self.schema.table_columns, *self.keep, *(column.name for column in self.schema.left_out)}
        extra = tuple(name for name in names if name not in used)
        if needed:
            remedy = "Give the columns the names that they had in training."
            if len(needed) == len(self.columns):
                remedy = "It has none of the model's columns: is it the model of this table? " + remedy
            raise DataError(f"{where} has no {list_missing(needed, extra or names)}, which the model needs. {remedy}")
        if needed := [name for name in self.keep if name not in names]:
            raise DataError(f"{where} has no {list_missing(needed, names)} to keep.")
        return extra

    def score(self, rows: Rows, first_row: int = 1) -> ScoredRows:
        """The output for some rows: `cells` with the model's columns, `originals` with the columns to keep.

        Raises DataError, with the row (`first_row` is the number of the first one) and the column, for a cell that the
        model cannot use.
        """
        found = _CellReader({}, {})
        predictions = self.model.to_predictions(self._raw_scores(rows.cells, first_row, found))
        frame = pl.DataFrame([*rows.originals, *self._to_columns(predictions)])
        statistics = ScoringStatistics(
            rows=frame.height,
            missing=found.missing,
            unseen=found.unseen,
            classes=self._count_classes(predictions),
            predictions=None if self.class_names else NumberDistribution.measure(predictions.scores),
            first_rows=_first_rows(frame),
        )
        return ScoredRows(frame, statistics)

    def score_no_rows(self) -> ScoredRows:
        """The output for a table without rows."""
        cells, texts = dict.fromkeys(self.columns, pl.Float64()), dict.fromkeys(self.keep, pl.String())
        return self.score(Rows(pl.DataFrame(schema=cells), pl.DataFrame(schema=texts)))

    @cached_property
    def _weights(self) -> dict[str, NDArray[np.float64]]:
        """The weights of each column's features, and for a category a 0 for cells without one: (outputs, features)."""
        weights, none = self.model.weights.T.astype(np.float64), np.zeros((len(self.model.bias), 1))
        ends = np.cumsum([len(column.feature_names) for column in self.schema.columns])
        parts = np.split(weights, ends[:-1], axis=1)
        return {
            column.name: np.hstack([part, none]) if isinstance(column, CategoryColumn) else part
            for column, part in zip(self.schema.columns, parts, strict=True)
        }

    def _raw_scores(self, cells: pl.DataFrame, first_row: int, reader: "_CellReader") -> Floats:
        """w·x + b of each row: (rows, outputs).

        It is summed column by column: no matrix of all features is needed, and a category adds the weight of its code.
        """
        raw = np.repeat(self.model.bias.astype(np.float64)[:, None], cells.height, axis=1)
        for column in self.schema.columns:
            weights = self._weights[column.name]
            try:
                if isinstance(column, CategoryColumn):
                    raw += weights.take(reader.read_category(cells[column.name], column), axis=1)
                    continue
                for feature, values in enumerate(reader.read_values(cells[column.name], column)):
                    raw += np.multiply.outer(weights[:, feature], values)
            except InvalidCellError as error:
                raise DataError(f"{error.with_row(first_row + error.index)}. {_REMEDY}") from error
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(raw.T, np.float32)

    def _to_columns(self, predictions: Predictions) -> list[pl.Series]:
        scores, labels = predictions.scores, predictions.labels
        values = scores if labels is None else pl.Series(self.class_names).gather(labels.astype(np.uint32))
        columns = [values, *split_scores(self.model, predictions)]
        return [pl.Series(name, one) for name, one in zip(self.prediction_columns, columns, strict=True)]

    def _count_classes(self, predictions: Predictions) -> dict[str, int]:
        if predictions.labels is None:
            return {}
        counts = np.bincount(predictions.labels.astype(np.intp), minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))


_REMEDY = "Correct the cell, or leave the row out."


@dataclass(frozen=True)
class _CellReader:
    """Reads columns of cells and records the missing cells and the unseen categories among them."""

    missing: dict[str, int]
    unseen: dict[str, UnseenCategories]

    def read_category(self, cells: pl.Series, column: CategoryColumn) -> NDArray[np.uint32]:
        """The code of each cell."""
        counted = count_texts(cells)
        texts = counted.select("text", "rows").drop_nulls()
        if missing := len(cells) - int(texts["rows"].sum()):
            self.missing[column.name] = missing
        unseen = texts.filter(~texts["text"].is_in(list(column.categories)))
        if unseen.height:
            self.unseen[column.name] = UnseenCategories.of(unseen["text"].to_list(), unseen["rows"].to_list())
        return category_codes(cells, column, counted).to_numpy()

    def read_values(self, cells: pl.Series, column: NumberColumn | DateColumn) -> list[Floats]:
        """The features of a column of numbers or dates."""
        values = read_values(cells, column)
        if missing := values.null_count():
            self.missing[column.name] = missing
            if column.fill is None:
                problem = "is missing, and the model was trained without missing values in it"
                raise InvalidCellError(cells, int(values.is_null().arg_max() or 0), problem)
        features = column.expand([one.to_numpy() for one in fill_missing(values, column)])
        return [to_float32(cells, feature) for feature in features]


def _first_rows(frame: pl.DataFrame) -> tuple[dict[str, Any], ...]:
    rows = frame.head(FIRST_ROWS).with_columns(
        pl.Series(column.name, [float(str(value)) for value in column.head(FIRST_ROWS).to_numpy()], pl.Float64)
        for column in frame
        if column.dtype == pl.Float32  # their shortest texts, as in a CSV file
    )
    return tuple({name: _to_json(cell) for name, cell in row.items()} for row in rows.to_dicts())


def _to_json(cell: Any) -> Any:
    return cell if isinstance(cell, str | int | float | bool | None) else str(cell)


def schema_by_position(model: LinearModel, columns: Sequence[str]) -> Schema:
    """The schema for a model without one: the columns are its features, in that order, and complete numbers.

    Raises DataError when the number of columns is not that of the model's features.
    """
    if len(columns) != len(model.weights):
        raise DataError(
            f"There are {len(columns)} columns, but the model was trained on {len(model.weights)} features. By "
            "position, a table needs exactly these, in their order: leave out the label and identifiers."
        )
    return Schema(label=LabelSchema(name=""), columns=tuple(NumberColumn(name=name) for name in columns))


def score_file(file: TableFile, scorer: Scorer, output: Path) -> ScoringStatistics:
    """Score the rows of a file, in their order, and write them to `output`: CSV or Parquet, as its name says.

    The texts that meant a missing value in training do so here. `output` is written completely or not at all. Raises
    DataError, with the name of the file, for an output of another format, for columns that are missing and for cells
    that the model cannot use.
    """
    check_output_name(output)
    missing = (*file.reading.missing, *scorer.schema.missing_values)
    markers = tuple(dict.fromkeys(text for text in missing if text not in MISSING_VALUES))
    file = replace(file, reading=file.reading.model_copy(update={"missing": markers}))
    scorer.extra_columns(file.names, file.name)
    parts: list[ScoringStatistics] = []
    scored = prefetch(_score_chunks(file, scorer), f"scoring {file.name}")
    write_predictions(_collect(scored, parts), output)
    return ScoringStatistics.merge(parts)


def _score_chunks(file: TableFile, scorer: Scorer) -> Iterator[ScoredRows]:
    row = 1
    for rows in prefetch(file.chunks_with_originals(scorer.columns, scorer.keep), f"reading {file.name}"):
        try:
            scored = scorer.score(rows, row)
        except DataError as error:
            raise DataError(f"{file.name}, {error}") from error
        yield scored
        row += rows.height
    if row == 1:
        yield scorer.score_no_rows()


def _collect(scored: Iterator[ScoredRows], parts: list[ScoringStatistics]) -> Iterator[pl.DataFrame]:
    """Yield the frames, and add their statistics to `parts`."""
    for chunk in scored:
        parts.append(chunk.statistics)
        if len(parts) == _MERGED_CHUNKS:
            parts[:] = [ScoringStatistics.merge(parts)]
        yield chunk.frame
