"""New rows are predicted by column name as they come, and every mistake is named."""

import random
import uuid
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from prefect import flow

from aws.errors import NotFound
from aws.storage import list_objects, read_object, write_object
from aws.workspace import Workspace
from flows.predict import predict_batch
from flows.train import train_linear_learner
from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.artifact import read_model
from tasks.parameters import Dataset, Prediction, RequestedHyperparameters
from tasks.prediction_report import BatchPrediction
from tasks.report import TrainingRun
from tests.conftest import use_machine

PutObject = Callable[[str, bytes], str]
ROWS = 200


def orders(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Orders whose class depends on a number, a category and a date."""
    numbers = random.Random(seed)  # noqa: S311 - a table, not a secret
    cities, ages = (numbers.choices(["Ulm", "Bonn", "Kiel"], k=rows), [numbers.randint(18, 80) for _ in range(rows)])
    frame = pl.DataFrame(
        {
            "id": [f"{number:05d}" for number in range(rows)],
            "city": cities,
            "age": [None if numbers.random() < 0.1 else age for age in ages],
            "day": [f"2024-{numbers.randint(1, 12):02d}-{numbers.randint(1, 28):02d}" for _ in range(rows)],
            "size": [round(numbers.gauss(0, 1), 3) for _ in range(rows)],
        }
    )
    paid = [
        size + (city == "Ulm") + numbers.gauss(0, 0.3) > 0.3 for size, city in zip(frame["size"], cities, strict=True)
    ]
    return frame.with_columns(paid=pl.Series(["yes" if one else "no" for one in paid]))


def to_csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


@pytest.fixture(scope="module")
def trained(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A binary classifier of orders, which the tests share."""
    machine, source = tmp_path_factory.mktemp("machine"), workspace.uri(f"{uuid.uuid4().hex}/orders.csv")
    write_object(workspace, source, to_csv(orders()))
    with use_machine(machine):
        run = train_linear_learner(
            Dataset(source=source, target="paid", ignore=("id",)),
            "flows",
            hyperparameters=RequestedHyperparameters(epochs=3, num_models=2),
            model_dir=str(machine / "models"),
        )
    assert isinstance(run, TrainingRun)
    return run


@pytest.fixture
def predict(trained: TrainingRun, machine: Path) -> Callable[..., BatchPrediction]:
    """A function that predicts with the run's model."""
    del machine

    def run(data: str, output: str, **options: Any) -> BatchPrediction:
        prediction = {"model": str(trained.model.path.parent), "data": data, "output": output, **options}
        return predict_batch(Prediction(**prediction), "flows")  # type: ignore[return-value] # the data of its state

    return run


def read(workspace: Workspace, uri: str) -> pl.DataFrame:
    content, _ = read_object(workspace, uri)
    return pl.read_parquet(BytesIO(content)) if uri.endswith(".parquet") else pl.read_csv(content, infer_schema=False)


def test_predictions_of_the_test_rows_are_those_of_the_evaluation(
    trained: TrainingRun, predict: Callable[..., BatchPrediction], workspace: Workspace, put_object: PutObject
) -> None:
    rows = trained.rows.row_numbers(workspace, trained.table)["test"]
    data = put_object("test.csv", to_csv(orders()[rows.tolist()]))
    found = predict(data, workspace.uri("out/test.parquet"), evaluate=True, keep=["id"])
    expected = {one.name: one.value for one in trained.evaluation.metrics}
    assert found.evaluation
    for one in found.evaluation.metrics:
        assert one.value == pytest.approx(expected[one.name], rel=1e-6), one.name
    frame = read(workspace, found.files[0].uri)
    assert frame.columns == ["id", "paid", "prediction", "probability.no", "probability.yes"]
    assert frame["id"].to_list() == orders()[rows.tolist()]["id"].to_list()
    schema, model = trained.encoding.table_schema, read_model(trained.model.path)
    scores = model.predict(schema.encode(orders()[rows.tolist()].to_dicts())).scores
    np.testing.assert_allclose(frame["probability.yes"].to_numpy(), scores, rtol=1e-6)


def test_other_column_orders_and_types_give_the_same_predictions(
    predict: Callable[..., BatchPrediction], workspace: Workspace, put_object: PutObject
) -> None:
    rows = orders(50, seed=1)
    expected = read(workspace, predict(put_object("a.csv", to_csv(rows)), workspace.uri("a/p.csv")).files[0].uri)
    shuffled = rows.select("size", pl.lit("x").alias("note"), "day", "city", "paid", "age", "id")
    typed = shuffled.with_columns(
        pl.col("city").cast(pl.Categorical), pl.col("age").cast(pl.Float64), day=pl.col("day").str.to_date()
    )
    buffer = BytesIO()
    typed.write_parquet(buffer)
    for name, content in (("b.csv", to_csv(shuffled)), ("c.parquet", buffer.getvalue())):
        found = predict(put_object(name, content), workspace.uri(f"{name}-out.csv"))
        assert read(workspace, found.files[0].uri).equals(expected), name


def test_unknown_categories_and_missing_cells_are_counted_and_shown(
    predict: Callable[..., BatchPrediction], workspace: Workspace, put_object: PutObject
) -> None:
    rows = orders(30).with_columns(city=pl.Series(["Rom", None, "Rom", *["Ulm"] * 27]))
    found = predict(put_object("new.csv", to_csv(rows)), workspace.uri("new/p.csv"))
    assert found.statistics.unseen["city"].most_frequent() == {"Rom": 2}
    assert found.statistics.missing["city"] == 1
    assert "'city' (2)" in str(found)


def test_each_file_of_a_folder_has_its_predictions_and_is_not_predicted_again(
    predict: Callable[..., BatchPrediction], workspace: Workspace, put_object: PutObject
) -> None:
    for number in range(3):
        data = put_object(f"parts/{number}.csv", to_csv(orders(10, seed=number))).rpartition("/")[0] + "/"
    output = workspace.uri("parts-out") + "/"
    first = predict(data, output)
    assert [file.uri for file in first.files] == [f"{output}{number}.csv" for number in range(3)]
    assert not first.reused
    assert predict(data, output).reused
    write_object(workspace, first.files[1].uri, b"changed")
    again = predict(data, output)
    assert [file.reused for file in again.files] == [True, False, True]
    assert [file.sha256 for file in again.files] == [file.sha256 for file in first.files]
    assert again.statistics == first.statistics
    assert not any(file.reused for file in predict(data, output, keep=["id"]).files)


def test_files_of_this_machine_are_read_and_written(predict: Callable[..., BatchPrediction], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_bytes(to_csv(orders(20)))
    predict(f"file://{tmp_path}/new.csv", f"file://{tmp_path}/out/p.csv")
    assert pl.read_csv(tmp_path / "out/p.csv").height == 20
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p.csv"]


GOOD = orders(20)
MISTAKES: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "a missing column": (to_csv(GOOD.drop("age")), {}, ["'age'"]),
    "two missing columns": (to_csv(GOOD.drop("age", "size")), {}, ["'age'", "'size'"]),
    "a renamed column": (to_csv(GOOD.rename({"age": "Age"})), {}, ["'age'", "did you mean 'Age'"]),
    "another table": (b"a,b\n1,2\n", {}, ["'city'", "'age'", "'day'", "'size'"]),
    "text in a number column": (to_csv(GOOD).replace(b",2024-", b"x,2024-", 1), {}, ["row 1", "'age'"]),
    "text in a complete number column": (
        b"city,age,day,size\nUlm,1,2024-01-01,big\n",
        {},
        ["row 1", "'size'", "'big'"],
    ),
    "a missing number": (
        b"city,age,day,size\nUlm,1,2024-01-01,1\nUlm,1,2024-01-01,\n",
        {},
        ["row 2", "'size'", "missing"],
    ),
    "a date of another form": (b"city,age,day,size\nUlm,1,01.02.2024,1\n", {}, ["row 1", "'day'", "'01.02.2024'"]),
    "an infinite number": (b"city,age,day,size\nUlm,1,2024-01-01,inf\n", {}, ["row 1", "'size'"]),
    "a number beyond float32": (b"city,age,day,size\nUlm,1,2024-01-01,1e39\n", {}, ["row 1", "'size'"]),
    "an empty file": (b"\n", {}, ["empty"]),
    "only a header": (b"city,age,day,size\n", {}, ["no rows"]),
    "no header": (to_csv(GOOD).partition(b"\n")[2], {}, ["header"]),
    "a row with too many values": (to_csv(GOOD) + b"1,2,3,4,5,6,7\n", {}, ["row 21", "7 values"]),
    "another encoding": (to_csv(GOOD).replace(b"Ulm", b"K\xf6ln", 1), {}, ["UTF-8", "latin-1"]),
    "a workbook": (b"PK\x03\x04" + b"\0" * 50, {}, ["Excel workbook"]),
    "a column to keep that is missing": (to_csv(GOOD), {"keep": ["idd"]}, ["'idd'", "did you mean 'id'"]),
    "no label to evaluate": (to_csv(GOOD.drop("paid")), {"evaluate": True}, ["'paid'"]),
    "unknown labels": (to_csv(GOOD.with_columns(paid=pl.lit("maybe"))), {"evaluate": True}, ["row 1", "'maybe'"]),
    "labels that are all missing": (
        to_csv(GOOD.with_columns(paid=pl.lit(None, pl.String))),
        {"evaluate": True},
        ["'paid'", "nothing can be evaluated"],
    ),
    "an unknown ending of the output": (
        to_csv(GOOD),
        {"output": "s3://linear-learner-sandbox/x.xlsx"},
        ["x.xlsx", ".parquet"],
    ),
    "a group without an approved model": (
        to_csv(GOOD),
        {"model": "linear-learner-paid-orders"},
        ["Approved", "--allow-unapproved"],
    ),
    "an unknown group": (
        to_csv(GOOD),
        {"model": "linear-learner-pai-orders"},
        ["did you mean", "linear-learner-paid-orders"],
    ),
    "a folder without a model": (to_csv(GOOD), {"model": "/nowhere"}, ["model.tar.gz", "/nowhere"]),
    "a model package version that is missing": (
        to_csv(GOOD),
        {"model": "linear-learner-paid-orders/77"},
        ["version 77"],
    ),
}


@flow(name="mistakes")
def collect_errors(runs: dict[str, dict[str, Any]]) -> dict[str, Exception]:
    """The error of the flow's function for each case; in one flow run, because each takes most of a second."""
    errors: dict[str, Exception] = {}
    for case, prediction in runs.items():
        with pytest.raises((DataError, ArtifactError, NotFound)) as caught:
            predict_batch.fn(Prediction(**prediction), "flows")
        errors[case] = caught.value
    return errors


def test_every_mistake_is_one_sentence_by_name(
    trained: TrainingRun, machine: Path, workspace: Workspace, put_object: PutObject
) -> None:
    del machine
    model, runs = str(trained.model.path.parent), {}
    for number, (case, (content, options, _)) in enumerate(MISTAKES.items()):
        data, output = put_object(f"{number}/new.csv", content), workspace.uri(f"mistakes/{number}.csv")
        runs[case] = {"model": model, "data": data, "output": output, **options}
    runs["no such file"] = {"model": model, "data": workspace.uri("no.csv"), "output": workspace.uri("mistakes/p.csv")}
    errors = collect_errors(runs)
    assert "no object" in str(errors.pop("no such file"))
    for case, error in errors.items():
        assert all(part.lower() in str(error).lower() for part in MISTAKES[case][2]), (case, error)
        assert "\n" not in str(error), case
        assert len(str(error)) < 600, case
    written = [one.uri for one in list_objects(workspace, workspace.uri("mistakes"))]
    labelled = {workspace.uri(f"mistakes/{list(MISTAKES).index(case)}.csv") for case in MISTAKES if "labels" in case}
    assert set(written) <= labelled  # predicted, but not evaluated
