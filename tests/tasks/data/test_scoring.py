"""Tables are scored by column name, whatever the order, the types and the chunks of their rows are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_learner.cells import canonical
from linear_learner.errors import DataError
from linear_learner.model import LinearModel, PredictorType
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema
from tasks.data.reader import Rows, TableFile
from tasks.data.scoring import Scorer, schema_by_position, score_file
from tasks.data.scoring_statistics import ScoringStatistics, UnseenCategories
from tasks.parameters import Reading

COLUMNS = (
    NumberColumn(name="complete"),
    NumberColumn(name="filled", fill=2.5, indicator=True),
    NumberColumn(name="filled later", fill=1),
    CategoryColumn(name="code", categories=("-1", "0.5", "1"), other=True, missing=True),
    CategoryColumn(name="text", categories=("1", "a", "true", "x, y")),
    DateColumn(name="day", format="%d.%m.%Y", parts=("month", "weekday"), origin=86_400, fill=5, indicator=True),
    DateColumn(name="time", format=None, parts=("year", "hour"), origin=0, fill=0),
)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "complete": st.integers(-(2**20), 2**20),
    "filled": st.none() | st.floats(-1e6, 1e6, width=32) | st.integers(-5, 5),
    "filled later": st.none() | st.integers(0, 3),
    "code": st.none() | st.integers(-3, 3) | st.just(0.5),
    "text": st.none() | st.sampled_from(["a", "b", "01", "1", "1.0", "TRUE", "true", "é", "x, y", 'say "b"']),
    "day": st.none() | st.dates(date(1960, 1, 1), date(2040, 1, 1)).map(lambda day: f"{day:%d.%m.%Y} 13:05"),
    "time": st.none() | st.datetimes(),
}
ROWS = st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=12)
KINDS: dict[str, tuple[PredictorType, str, tuple[str, ...], int]] = {
    "regressor": ("regressor", "squared_loss", (), 1),
    "binary": ("binary_classifier", "logistic", ("no", "yes"), 1),
    "hinge": ("binary_classifier", "hinge_loss", (), 1),
    "multiclass": ("multiclass_classifier", "softmax_loss", ("a", "b", "c"), 3),
}


def make_model(kind: str, schema_columns: Sequence[Any] = COLUMNS) -> tuple[LinearModel, Schema]:
    predictor, loss, classes, outputs = KINDS[kind]
    schema = Schema(label=LabelSchema(name="y", classes=classes), columns=tuple(schema_columns), missing_values=("-",))
    rng = np.random.default_rng(outputs)
    weights = rng.normal(size=(len(schema.features), outputs)) / 1000
    return LinearModel(predictor, loss, weights.astype(np.float32), np.ones(outputs, np.float32)), schema


def as_frame(rows: Sequence[Mapping[str, Any]], *, widened: bool) -> pl.DataFrame:
    """The rows in a frame; widened: numbers as texts, complete ones as floats, and categories as dictionaries."""
    frame = pl.DataFrame([pl.Series(name, [row[name] for row in rows], strict=False) for name in rows[0]])
    if not widened:
        return frame
    numbers = frame["filled", "code"].cast(pl.String)
    texts = frame["text"].cast(pl.String).cast(pl.Categorical)
    return frame.with_columns(*numbers, texts, frame["complete"].cast(pl.Float64))


def expected(rows: Sequence[Mapping[str, Any]], model: LinearModel, schema: Schema) -> tuple[pl.DataFrame, Any]:
    """The output from rows encoded one by one, and the rounding errors that float32 permits."""
    features = schema.encode(rows)
    predictions = model.predict(features)
    tolerance = 1e-6 * (1 + np.abs(features.astype(float)) @ np.abs(model.weights.astype(float))).max(axis=1)
    if predictions.labels is None:
        return pl.DataFrame({"prediction": predictions.scores}), tolerance
    names = [schema.class_name(int(label)) for label in predictions.labels]
    scores = predictions.scores
    if scores.ndim == 2:
        columns = {f"probability.{name}": scores[:, index] for index, name in enumerate(schema.label.classes)}
    elif model.has_sigmoid:
        columns = {"probability.no": 1 - scores, "probability.yes": scores}
    else:
        columns = {"score": scores}
    return pl.DataFrame({"prediction": names, **columns}), tolerance


def assert_close(found: pl.DataFrame, wanted: pl.DataFrame, tolerance: Any) -> None:
    assert found.columns == wanted.columns
    assert found.height == wanted.height
    for column in wanted:
        if column.dtype == pl.String:  # equal except where two classes are nearly as probable
            scores = wanted.drop(column.name).to_numpy()
            ordered = np.sort(np.column_stack([scores, np.full(len(scores), 0.5)]) if scores.shape[1] == 1 else scores)
            clear = ordered[:, -1] - ordered[:, -2] > 2 * tolerance
            assert found[column.name].filter(clear).to_list() == column.filter(clear).to_list()
        else:
            differences = np.abs(found[column.name].to_numpy() - column.to_numpy())
            assert (differences <= tolerance).all(), (column.name, differences, tolerance)


@pytest.mark.parametrize("kind", KINDS)
@given(rows=ROWS, widened=st.booleans(), size=st.integers(1, 12), seed=st.integers(0, 99))
def test_predictions_of_chunks_equal_those_of_rows(
    kind: str, rows: list[dict[str, Any]], widened: bool, size: int, seed: int
) -> None:
    model, schema = make_model(kind)
    scorer = Scorer(model, schema, keep=("id",))
    frame = as_frame(rows, widened=widened)
    shuffled = frame.select(np.random.default_rng(seed).permutation(frame.columns).tolist()).with_columns(
        pl.Series("another", range(len(rows))), pl.col("text").cast(pl.String)
    )
    ids = pl.DataFrame({"id": range(len(rows))})
    starts = range(0, len(rows), size)
    scored = [scorer.score(Rows(shuffled[start : start + size], ids[start : start + size])) for start in starts]
    output = pl.concat([one.frame for one in scored])
    assert output["id"].to_list() == list(range(len(rows)))
    assert_close(output.drop("id"), *expected(rows, model, schema))
    merged = ScoringStatistics.merge([one.statistics for one in scored])
    whole = scorer.score(Rows(shuffled, ids)).statistics
    excluded = {"predictions": {"total"}}
    assert merged.model_dump(exclude=excluded) == whole.model_dump(exclude=excluded)
    missing = {name: sum(row[name] is None for row in rows) for name in CELLS}
    assert whole.missing == {name: cells for name, cells in missing.items() if cells}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)  # each writes and reads all files
@given(rows=ROWS, seed=st.integers(0, 99), labelled=st.booleans())
def test_files_of_any_column_order_and_types_have_the_predictions_of_rows_and_equal_counts(
    kind: str, rows: list[dict[str, Any]], seed: int, labelled: bool
) -> None:
    model, schema = make_model(kind)
    scorer, rng = Scorer(model, schema, keep=("extra",)), np.random.default_rng(seed)
    found: list[ScoringStatistics] = []
    with TemporaryDirectory() as name:
        for widened, source, output in FILES:
            frame = as_frame(rows, widened=widened).with_columns(pl.Series("extra", range(len(rows))))
            frame = frame.with_columns(y=pl.lit("?")) if labelled else frame
            frame = frame.select(rng.permutation(frame.columns).tolist())
            path = Path(name) / source
            (frame.write_csv if path.suffix == ".csv" else frame.write_parquet)(path)
            file = TableFile(path, source)
            assert scorer.extra_columns(file.names, source) == ()
            assert Scorer(model, schema).extra_columns(file.names, source) == ("extra",)
            found.append(score_file(file, scorer, path.with_name(output)))
            written = read(path.with_name(output)).with_columns(pl.col("prediction").cast(KINDS_OF_PREDICTIONS[kind]))
            assert written["extra"].cast(pl.Int64).to_list() == list(range(len(rows)))
            assert_close(written.drop("extra"), *expected(rows, model, schema))
    assert [one.unseen for one in found] == [count_unseen(rows, schema)] * len(found)
    assert [one.missing for one in found] == [count_missing(rows, schema)] * len(found)
    assert [one.rows for one in found] == [len(rows)] * len(found)
    shown = [row["prediction"] for row in found[-1].first_rows]
    expected_rows = written["prediction"].head(10).to_list()
    assert shown == (pytest.approx(expected_rows, rel=1e-6) if kind == "regressor" else expected_rows)


FILES = (
    (False, "rows.csv", "predictions.parquet"),
    (True, "wide.csv", "predictions.csv"),
    (False, "rows.parquet", "predictions.csv.zst"),
    (True, "wide.parquet", "predictions.csv.gz"),
)
"""Whether the types are widened, and the names of the rows and of their predictions."""
KINDS_OF_PREDICTIONS = {kind: pl.Float64() if kind == "regressor" else pl.String() for kind in KINDS}


def count_missing(rows: Sequence[Mapping[str, Any]], schema: Schema) -> dict[str, int]:
    counts = {name: sum(canonical(row[name], schema.missing_texts) is None for row in rows) for name in CELLS}
    return {name: count for name, count in counts.items() if count}


def count_unseen(rows: Sequence[Mapping[str, Any]], schema: Schema) -> dict[str, UnseenCategories]:
    unseen = {}
    for column in schema.columns:
        if isinstance(column, CategoryColumn):
            texts = [canonical(row[column.name], schema.missing_texts) for row in rows]
            if counts := Counter(text for text in texts if text is not None and text not in column.categories):
                unseen[column.name] = UnseenCategories.of(list(counts), list(counts.values()))
    return unseen


def read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)


def table(path: Path, *lines: str) -> TableFile:
    path.write_text("\n".join(lines) + "\n")
    return TableFile(path, path.name)


SMALL = (
    NumberColumn(name="age"),
    NumberColumn(name="income", fill=10),
    CategoryColumn(name="city", categories=("Bonn", "Ulm"), missing=True),
    DateColumn(name="since", format="%d.%m.%Y", parts=(), origin=0, fill=0),
)
HEADER, ROW = "id,age,income,city,since", "1,40,2.5,Bonn,03.02.2024"


def small_scorer(*keep: str, kind: str = "regressor") -> Scorer:
    return Scorer(*make_model(kind, SMALL), keep)


def test_columns_to_keep_are_unchanged_in_every_block(tmp_path: Path) -> None:
    ids = [f"{number:07}" for number in range(12_000)]
    texts = ["1.50", "2024-01-31", "NA", "-", '" x, y"', "", "1e3", "TRUE", '"a ""b"""', "0.10"]
    ages = [["40", "040", "4.0e1"][number % 3] for number in range(len(ids))]
    lines = [
        f"{number},{age},{'-' if row % 7 == 0 else 1},Bonn,03.02.2024,{texts[row % len(texts)]}"
        for row, (number, age) in enumerate(zip(ids, ages, strict=True))
    ]
    file = table(tmp_path / "rows.csv", f"{HEADER},note", *lines)
    statistics = score_file(file, small_scorer("id", "age", "note"), tmp_path / "out.csv")
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert written[0] == "id,age,note,prediction"
    found = [line.rpartition(",")[0] for line in written[1:]]
    assert found == [f"{line.split(',')[0]},{line.split(',')[1]},{line.split(',', 5)[5]}" for line in lines]
    assert len({line.rpartition(",")[2] for line in written[1:]}) == 2
    assert statistics.missing == {"income": -(-len(ids) // 7)}
    assert statistics.rows == len(ids)


def test_columns_to_keep_of_parquet_have_their_types(tmp_path: Path) -> None:
    columns = {
        "id": [7, 8], "age": [1, 2], "income": [1.5, None], "city": ["Bonn", None], "since": [date(2024, 1, 2)] * 2,
        "tags": [["a"], []], "kind": pl.Series(["x", "y"], dtype=pl.Categorical),
    }  # fmt: skip
    pl.DataFrame(columns).write_parquet(tmp_path / "rows.parquet")
    file = TableFile(tmp_path / "rows.parquet", "rows.parquet")
    keep = ("since", "id", "tags", "kind")
    score_file(file, small_scorer(*keep), tmp_path / "out.parquet")
    written = pl.read_parquet(tmp_path / "out.parquet")
    assert written.columns == [*keep, "prediction"]
    assert written["since", "id", "tags"].to_dict(as_series=False) == {name: list(columns[name]) for name in keep[:3]}
    assert written["kind"].cast(pl.String).to_list() == ["x", "y"]
    with pytest.raises(DataError, match=r"'tags' has the type List.*Write a \.parquet file"):
        score_file(file, small_scorer(*keep), tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["out.csv.gz", "out.csv.zst", "OUT.CSV", "out.parquet"])
def test_the_name_gives_the_format_and_all_have_the_same_rows(tmp_path: Path, name: str) -> None:
    file = table(tmp_path / "rows.csv", HEADER, *[ROW] * 5)
    score_file(file, small_scorer("id", kind="binary"), tmp_path / "expected.csv")
    score_file(file, small_scorer("id", kind="binary"), tmp_path / name)
    found = read(tmp_path / name).with_columns(pl.col("id").cast(pl.Int64))
    assert found.equals(read(tmp_path / "expected.csv").cast(dict(found.schema)))


def test_hive_partitions_can_be_features_and_columns_to_keep(tmp_path: Path) -> None:
    table(tmp_path / "rows.csv", "id,age,income,since", "1,40,2.5,03.02.2024")
    file = TableFile(tmp_path / "rows.csv", "rows.csv", Reading(), (("city", "Ulm"), ("run", "007")))
    score_file(file, small_scorer("run", "city"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("007,Ulm,")


def test_unseen_and_missing_cells_are_counted_with_examples(tmp_path: Path) -> None:
    cells = ["Bonn", *["Rom"] * 3, " Rom ", "1.0", "01", "", "NA"]
    lines = [f"{row},40,,{city}," for row, city in enumerate(cells)]
    statistics = score_file(table(tmp_path / "rows.csv", HEADER, *lines), small_scorer(), tmp_path / "out.csv")
    assert statistics.missing == {"income": 9, "city": 2, "since": 9}
    assert statistics.unseen["city"].most_frequent() == {"Rom": 4, "1": 2}
    assert statistics.unseen["city"].cells == 6


def test_classes_are_counted_by_name(tmp_path: Path) -> None:
    file = table(tmp_path / "rows.csv", HEADER, ROW, ROW)
    statistics = score_file(file, small_scorer(kind="binary"), tmp_path / "out.csv")
    assert statistics.classes == {"no": 0, "yes": 2}
    assert statistics.predictions is None
    assert set(statistics.first_rows[0]) == {"prediction", "probability.no", "probability.yes"}


def test_a_part_without_rows_becomes_an_output_without_rows(tmp_path: Path) -> None:
    statistics = score_file(table(tmp_path / "rows.csv", HEADER), small_scorer("id"), tmp_path / "out.csv")
    assert statistics == ScoringStatistics()
    assert (tmp_path / "out.csv").read_text() == "id,prediction\n"


@pytest.mark.parametrize(
    ("header", "row", "problem"),
    [
        (
            HEADER,
            "2,,1,Bonn,",
            r"rows.csv, row 3, column 'age': the cell is missing, and the model was trained without missing",
        ),
        (HEADER, "2,old,1,Bonn,", r"rows.csv, row 3, column 'age': 'old' is not a number\. Correct the cell"),
        (HEADER, "2,1,inf,Bonn,", r"rows.csv, row 3, column 'income': inf is not a finite 32-bit float"),
        (HEADER, "2,1e39,1,Bonn,", r"rows.csv, row 3, column 'age': 1e\+39 is not a finite"),
        (HEADER, "2,1,1,Bonn,2024-02-03", r"column 'since': '2024-02-03' is not a date like %d\.%m\.%Y"),
        (HEADER, "2,1,1,Bonn,30.02.2024", r"row 3, column 'since': '30.02.2024' is not a date"),
        ("id,Age,income,town,since", ROW, r"rows.csv has no columns 'age' \(did you mean 'Age'\?\), 'city', which the"),
        ("id,age,income,City,y", ROW, r"no columns 'city' \(did you mean 'City'\?\), 'since', which the model needs"),
        ("a,b,c,d,e", ROW, r"It has none of the model's columns: is it the model of this table\?"),
    ],
)
def test_what_the_model_cannot_use_is_one_sentence_and_leaves_no_file(
    tmp_path: Path, header: str, row: str, problem: str
) -> None:
    output = tmp_path / "out" / "predictions.parquet"
    score_file(table(tmp_path / "rows.csv", HEADER, ROW), small_scorer(), output)
    before = output.read_bytes()
    with pytest.raises(DataError, match=problem):
        score_file(table(tmp_path / "rows.csv", header, ROW, ROW, row), small_scorer(), output)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_bytes() == before


def test_columns_and_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model, schema = make_model("binary", SMALL)
    file = table(tmp_path / "rows.csv", HEADER, ROW)
    with pytest.raises(DataError, match=r"no column 'idd' \(did you mean 'id'\?\) to keep"):
        score_file(file, small_scorer("idd"), tmp_path / "out.csv")
    with pytest.raises(DataError, match=r"unknown ending. Give a name with one of \.csv"):
        score_file(file, small_scorer(), tmp_path / "out.xlsx")
    with pytest.raises(DataError, match="'prediction' would be in the output twice"):
        small_scorer("prediction")
    with pytest.raises(DataError, match="The schema has 6 features, and the model 5"):
        Scorer(LinearModel("regressor", "squared_loss", model.weights[:-1], model.bias), schema)
    with pytest.raises(DataError, match="The schema has 3 classes, and the model, a binary_classifier, 2"):
        Scorer(model, schema.model_copy(update={"label": LabelSchema(name="y", classes=("a", "b", "c"))}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_a_schema_is_used_by_position(tmp_path: Path, kind: str) -> None:
    model, _ = make_model(kind, [NumberColumn(name="x0"), NumberColumn(name="x1")])
    file = table(tmp_path / "rows.csv", "y,id,a", "1,7,2", "3,8,4.5")
    schema = schema_by_position(model, [name for name in file.names if name != "id"])
    score_file(file, Scorer(model, schema), tmp_path / "out.parquet")
    predictions, written = model.predict([[1, 2], [3, 4.5]]), read(tmp_path / "out.parquet")
    if predictions.labels is None:
        assert written["prediction"].to_list() == pytest.approx(predictions.scores.tolist())
    else:
        assert written["prediction"].to_list() == [str(int(label)) for label in predictions.labels]
        last = predictions.scores if predictions.scores.ndim == 1 else predictions.scores[:, -1]
        assert written[written.columns[-1]].to_list() == pytest.approx(last.tolist())
    with pytest.raises(DataError, match="There are 3 columns, but the model was trained on 2 features"):
        schema_by_position(model, file.names)
