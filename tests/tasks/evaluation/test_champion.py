"""The champion predicts the same rows through its own schema, whatever this run's columns and classes are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aws.workspace import Workspace
from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions, PredictorType
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema
from sandbox.client import make_workspace
from tasks.data.measurement import measure_file, merge
from tasks.data.source import find_table
from tasks.evaluation import champion as module
from tasks.evaluation.champion import Champion, EvaluationRows, score_champion
from tasks.load import Table
from tasks.parameters import Reading, Split
from tasks.split import Rows

SCORE = NumberColumn(name="score")
AGE, CITY = NumberColumn(name="age", fill=40.0, indicator=True), CategoryColumn(name="city", categories=("Bonn", "Ulm"))
SINCE = DateColumn(name="since", format="%d.%m.%Y", parts=("month",), origin=0, fill=0)
OURS = Schema(label=LabelSchema(name="pay"), columns=(NumberColumn(name="score"),))
THEIRS = Schema(
    label=LabelSchema(name="pay"),
    columns=(CITY.model_copy(update={"other": True, "missing": True}), SINCE, AGE),
    missing_values=("-",),
)


def change(schema: Schema, **fields: Any) -> Schema:
    """The schema with other fields; a copy of a model would also have the features that were computed before."""
    return Schema(**{name: getattr(schema, name) for name in Schema.model_fields} | fields)


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """A workspace of which no service is called."""
    return make_workspace("http://localhost:1")


def people(rows: int = 60, seed: int = 0) -> pl.DataFrame:
    """People with a number, a city and a date, each with missing cells, as texts."""
    random = np.random.default_rng(seed)
    ages = [str(age) if age > 25 else "-" for age in random.integers(18, 80, rows)]
    dates = [f"{day}.{month}.2024" for day, month in random.integers(1, 13, (rows, 2))]
    return pl.DataFrame(
        {
            "score": random.random(rows).round(3),
            "city": random.choice(["Bonn", "Ulm", "Oslo", ""], rows),
            "pay": random.random(rows).round(2),
            "age": ages,
            "since": [text if row % 7 else "" for row, text in enumerate(dates)],
        }
    )


def write(folder: Path, *frames: pl.DataFrame) -> Path:
    """Write one file for each frame, CSV and Parquet in turn."""
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        if number % 2:
            frame.write_parquet(folder / f"{number}")
        else:
            frame.write_csv(folder / f"{number}")
    return folder


def read(workspace: Workspace, folder: Path, holdout: Path | None = None, ignore: Sequence[str] = ()) -> Table:
    source, held_out = (find_table(workspace, str(one)) if one else None for one in (folder, holdout))
    assert source
    parts = (*source.parts, *(held_out.parts if held_out else ()))
    names = [name for name in people(1).columns if name not in ignore]
    measures = [measure_file(workspace, part, names, "pay", Reading()) for part in parts]
    rows = tuple(one.rows for one in measures)
    return Table(source=source, holdout=held_out, made_of={}, part_rows=rows, profile=merge(measures).profile())


def rows_of(table: Table, features: Any = None, schema: Schema = OURS, split: Split | None = None) -> EvaluationRows:
    rows = Rows(train=1, validation=1, test=1, parameters=split or Split(test_size=0.8))
    features = np.empty((1, 1), np.float32) if features is None else features
    return EvaluationRows(table, rows, schema, features)


def make_model(schema: Schema, kind: PredictorType = "regressor", loss: str = "squared_loss") -> LinearModel:
    outputs = len(schema.label.classes) if kind == "multiclass_classifier" else 1
    weights = np.random.default_rng(5).normal(size=(len(schema.features), outputs)).astype(np.float32)
    return LinearModel(kind, loss, weights / 50, np.arange(outputs, dtype=np.float32))


def score(
    workspace: Workspace, champion: Champion, test: EvaluationRows, model: LinearModel | None = None
) -> Predictions:
    predictions, objection = score_champion(workspace, champion, model or make_model(test.schema), test)
    assert objection is None
    assert predictions
    return predictions


def expected(champion: Champion, frames: Sequence[pl.DataFrame], rows: Sequence[int]) -> Predictions:
    """The predictions for rows of all frames, one row after another, without a library for tables."""
    assert champion.schema
    cells = pl.concat(frames)[list(rows)].to_dicts()
    return champion.model.predict(champion.schema.encode(cells))


@pytest.mark.parametrize("block_cells", [module.BLOCK_CELLS, 20])
@pytest.mark.parametrize("has_holdout", [False, True])
def test_predictions_are_those_of_the_champions_schema_in_the_order_of_the_test_rows(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_cells: int, has_holdout: bool
) -> None:
    monkeypatch.setattr(module, "BLOCK_CELLS", block_cells)
    frames = [people(seed=seed, rows=rows) for seed, rows in enumerate((60, 3, 40))]
    holdout = write(tmp_path / "holdout", *frames[1:]) if has_holdout else None
    table = read(workspace, write(tmp_path / "table", *frames[: 1 if has_holdout else 3]), holdout)
    test = rows_of(table)
    champion = Champion(make_model(THEIRS), THEIRS)
    numbers = test.rows.row_numbers(workspace, table)["test"]
    assert len(numbers) >= 25
    assert has_holdout == (numbers.tolist() == sorted(numbers))
    np.testing.assert_allclose(
        score(workspace, champion, test).scores, expected(champion, frames, numbers.tolist()).scores, rtol=1e-6
    )


def test_columns_that_this_run_ignores_are_read_and_only_those_of_the_champion(
    workspace: Workspace, tmp_path: Path
) -> None:
    frame, ignored = people(), ("city", "since", "age")
    (tmp_path / "t").mkdir()
    frame.with_columns(lists=pl.Series([[1]]).new_from_index(0, frame.height)).write_parquet(tmp_path / "t" / "0")
    test = rows_of(read(workspace, tmp_path / "t", ignore=ignored))
    champion = Champion(make_model(THEIRS), THEIRS)
    numbers = test.rows.row_numbers(workspace, test.table)["test"].tolist()
    found = score(workspace, champion, test)
    np.testing.assert_allclose(found.scores, expected(champion, [frame], numbers).scores, rtol=1e-6)
    lists = change(THEIRS, columns=(NumberColumn(name="lists"),))
    objection = score_champion(workspace, Champion(make_model(lists), lists), make_model(OURS), test)[1]
    assert "the column 'lists' has the type List(Int64)" in str(objection)


@pytest.mark.parametrize("loss", ["logistic", "hinge_loss"])
def test_a_swapped_positive_class_swaps_probabilities_and_labels(
    workspace: Workspace, tmp_path: Path, loss: str
) -> None:
    theirs, ours = (
        change(one, label=LabelSchema(name="pay", classes=classes))
        for one, classes in ((THEIRS, ("no", "yes")), (OURS, ("yes", "no")))
    )
    table = read(workspace, write(tmp_path / "t", people()))
    model = make_model(theirs, "binary_classifier", loss)
    model = LinearModel(model.predictor_type, loss, 40 * model.weights, model.bias, threshold=0.3)
    same = rows_of(table, schema=change(theirs, columns=OURS.columns))
    other = rows_of(table, schema=ours)
    one = score(workspace, Champion(model, theirs), same, make_model(OURS, "binary_classifier", loss))
    swapped = score(workspace, Champion(model, theirs), other, make_model(OURS, "binary_classifier", loss))
    assert one.labels is not None
    assert swapped.labels is not None
    np.testing.assert_array_equal(swapped.labels, 1 - one.labels)
    assert 0 < one.labels.mean() < 1
    opposite = -one.scores if loss == "hinge_loss" else 1 - one.scores
    np.testing.assert_allclose(swapped.scores, opposite, atol=1e-6)
    assert len(np.unique(swapped.scores)) == len(np.unique(one.scores))


def test_the_classes_of_a_multiclass_champion_are_put_into_the_order_of_this_model(
    workspace: Workspace, tmp_path: Path
) -> None:
    theirs, ours = (
        change(one, label=LabelSchema(name="pay", classes=classes))
        for one, classes in ((THEIRS, ("a", "b", "c")), (OURS, ("c", "a", "b")))
    )
    frame = people()
    table = read(workspace, write(tmp_path / "t", frame))
    champion = Champion(make_model(theirs, "multiclass_classifier", "softmax_loss"), theirs)
    test = rows_of(table, schema=ours)
    found = score(workspace, champion, test, make_model(ours, "multiclass_classifier", "softmax_loss"))
    numbers = test.rows.row_numbers(workspace, table)["test"].tolist()
    np.testing.assert_allclose(found.scores, expected(champion, [frame], numbers).scores[:, [2, 0, 1]], rtol=1e-5)
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, found.scores.argmax(axis=1))


def test_features_of_the_test_channel_are_used_if_they_include_the_champions(
    workspace: Workspace, tmp_path: Path
) -> None:
    table = read(workspace, write(tmp_path / "t", people()))
    ours = change(THEIRS, columns=(AGE, NumberColumn(name="score"), *THEIRS.columns[:2]))
    features = np.random.default_rng(0).normal(size=(9, len(ours.features))).astype(np.float32)
    model = make_model(THEIRS)
    (tmp_path / "t" / "0").unlink()
    found = score(workspace, Champion(model, THEIRS), rows_of(table, features, ours))
    places = [ours.features.index(name) for name in THEIRS.features]
    np.testing.assert_allclose(found.scores, model.predict(features[:, places]).scores, rtol=1e-5)
    with pytest.raises(DataError, match="was changed or removed"):
        score(workspace, Champion(model, THEIRS), rows_of(table))


def test_a_champion_without_schema_is_matched_by_names_or_position(workspace: Workspace, tmp_path: Path) -> None:
    table = read(workspace, write(tmp_path / "t", people()))
    schema = change(OURS, columns=(NumberColumn(name="age"), NumberColumn(name="score")))
    test = rows_of(table, np.array([[1, 2], [3, 5]], np.float32), schema)
    weights, bias = np.array([[10], [1]], np.float32), np.zeros(1, np.float32)

    def champion(*names: str) -> Champion:
        return Champion(LinearModel("regressor", "squared_loss", weights, bias, feature_names=names or None), None)

    assert score(workspace, champion(), test).scores.tolist() == [12, 35]
    assert score(workspace, champion("score", "age"), test).scores.tolist() == [21, 53]
    objections = [
        score_champion(workspace, one, make_model(schema), test)[1]
        for one in (champion("score", "years"), Champion(make_model(OURS), None))
    ]
    assert objections == ["it uses 'years' and lacks 'age'.", "it has a different number of features."]


MANY = tuple(NumberColumn(name=f"x{number}") for number in range(7))


@pytest.mark.parametrize(
    ("columns", "cells", "objection"),
    [
        ((NumberColumn(name="years"), AGE), {}, "it uses 'years', and file://{file} has no such column."),
        (MANY, {}, "it uses 'x0', 'x1', 'x2', 'x3', 'x4', …, and file://{file} has no such columns."),
        ((AGE,), {"age": "old"}, "its columns cannot be read: file://{file}, row {row}, column 'age': 'old' is not"),
        ((SCORE, CITY), {"score": None}, "row {row}, column 'score': the cell is missing, but the column had no"),
        ((SCORE, CITY), {"score": 1e39}, "row {row}, column 'score': 1e+39 is not a finite 32-bit float."),
        ((SINCE,), {"since": "2024-13-01"}, "row {row}, column 'since': '2024-13-01' is not a date like %d.%m.%Y."),
        ((SCORE, CITY), {"score": 3e38}, "its prediction for row 3 of the test set is not finite."),
    ],
)  # fmt: skip
def test_what_the_champions_schema_excludes_is_an_objection(
    workspace: Workspace, tmp_path: Path, columns: Any, cells: dict[str, Any], objection: str
) -> None:
    frame = people()
    test = rows_of(read(workspace, write(tmp_path / "t", frame)))
    row = int(test.rows.row_numbers(workspace, test.table)["test"][2])
    changed = frame.with_columns(
        pl.when(pl.int_range(frame.height) == row).then(pl.lit(cell)).otherwise(pl.col(name)).alias(name)
        for name, cell in cells.items()
    )
    test = rows_of(read(workspace, write(tmp_path / "t", changed)))
    theirs = change(THEIRS, columns=columns)
    weights = np.full((len(theirs.features), 1), 5, np.float32)
    champion = Champion(LinearModel("regressor", "squared_loss", weights, np.zeros(1, np.float32)), theirs)
    predictions, found = score_champion(workspace, champion, make_model(OURS), test)
    assert predictions is None
    assert found
    assert objection.format(file=tmp_path / "t" / "0", row=row + 1) in found


def test_a_cell_that_the_schema_excludes_is_no_objection_outside_the_test_rows(
    workspace: Workspace, tmp_path: Path
) -> None:
    frame = people()
    test = rows_of(read(workspace, write(tmp_path / "t", frame)))
    rows = test.rows.row_numbers(workspace, test.table)
    is_training_row = pl.int_range(frame.height) == int(rows["train"][0])
    changed = frame.with_columns(age=pl.when(is_training_row).then(pl.lit("old")).otherwise(pl.col("age")))
    champion = Champion(make_model(THEIRS), THEIRS)
    found = score(workspace, champion, rows_of(read(workspace, write(tmp_path / "t", changed))))
    np.testing.assert_allclose(found.scores, expected(champion, [frame], rows["test"].tolist()).scores, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "classes", "objection"),
    [
        ("regressor", (), "it is a regressor, and this model is a multiclass_classifier of 3 classes."),
        ("binary_classifier", ("a", "b"), "it is a binary_classifier, and this model is a multiclass_classifier of 3"),
        ("multiclass_classifier", ("a", "b", "d"), "its classes are others: it uses 'd' and lacks 'c'."),
        ("multiclass_classifier", ("a", "b", "c", "d"), "its classes are others: it uses 'd'."),
    ],
)
def test_a_champion_of_another_kind_or_with_other_classes_is_an_objection(
    workspace: Workspace, tmp_path: Path, kind: PredictorType, classes: tuple[str, ...], objection: str
) -> None:
    theirs, ours = (change(THEIRS, label=LabelSchema(name="pay", classes=names)) for names in (classes, tuple("abc")))
    test = rows_of(read(workspace, write(tmp_path / "t", people())), schema=ours)
    model = make_model(ours, "multiclass_classifier", "softmax_loss")
    assert objection in str(score_champion(workspace, Champion(make_model(theirs, kind), theirs), model, test)[1])


def test_a_champion_that_uses_the_target_of_this_run_is_an_objection(workspace: Workspace, tmp_path: Path) -> None:
    test = rows_of(read(workspace, write(tmp_path / "t", people())))
    theirs = Schema(label=LabelSchema(name="score"), columns=(NumberColumn(name="pay"),))
    found = score_champion(workspace, Champion(make_model(theirs), theirs), make_model(OURS), test)
    assert found == (None, "it uses the column 'pay', which this model predicts.")


def test_classes_without_names_are_numbers(workspace: Workspace, tmp_path: Path) -> None:
    named = change(OURS, label=LabelSchema(name="pay", classes=("2", "0", "1")))
    test = rows_of(read(workspace, write(tmp_path / "t", people())), np.ones((1, 1), np.float32), OURS)
    model = make_model(named, "multiclass_classifier", "softmax_loss")
    found = score(workspace, Champion(model, named), test, model)
    np.testing.assert_allclose(found.scores, model.predict([[1]]).scores[:, [1, 2, 0]])
