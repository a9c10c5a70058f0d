"""A catalogue of invalid tables: each is rejected with the position of the error and a remedy; no job is started."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow
from prefect.states import State

from flows.train import train_linear_learner
from linear_learner.errors import DataError, HyperparameterError
from tasks.parameters import Dataset, RequestedHyperparameters, Split

pytestmark = pytest.mark.e2e

ROWS = [(number * 7 % 50 + number / 100, number % 13, number * 3 % 11, number % 2) for number in range(60)]
"""bonus, age, score, left: sixty valid rows."""
BINARY = {"predictor_type": "binary_classifier"}
THREE = {"predictor_type": "multiclass_classifier", "num_classes": 3}


def table(header: str = "bonus,age,score,left", **cells: object) -> bytes:
    """The valid table with some cells replaced: `age_3="x"` is row 3 of age, `age=…` the whole column."""
    names = ["bonus", "age", "score", "left"]
    rows = [[str(value) for value in row] for row in ROWS]
    for cell, value in cells.items():
        name, _, row = cell.partition("_")
        for number in [int(row)] if row else range(1, len(rows) + 1):
            content = value(number) if callable(value) else value
            rows[number - 1][names.index(name)] = str(content)
    return "\n".join([header, *map(",".join, rows), ""]).encode()


Case = tuple[bytes, list[str], dict[str, Any]]

FILES: dict[str, Case] = {
    "only a line break": (b"\n", ["is empty", "header line"], {}),
    "only blank lines": (b"\n\n\n", ["is empty"], {}),
    "only a byte order mark": (b"\xef\xbb\xbf", ["is empty"], {}),
    "a header without rows": (b"bonus,age\n", ["no rows", "at least one row"], {}),
    "a header without line end": (b"bonus,age", ["no rows"], {}),
    "a row with too many values": (table(left_3="1,1"), ["row 3", "5 values, but the header has 4", "Repair"], {}),
    "a row with too few values": (
        b"bonus,age\n" + b"1,2\n2,3\n" * 30 + b"3\n",
        ["row 61: 1 value, but the header has 2", "Repair"],
        {},
    ),
    "a row with too many semicolons": (
        b"bonus;age\n" + b"1,5;2\n" * 30 + b"3;4;5\n",
        ["row 31: 3 values, but the header has 2", "semicolons"],
        {},
    ),
    "a duplicate column": (table("bonus,age,age,left"), ["more than one column named 'age'", "Rename"], {}),
    "a misspelled target": (table("bonuss,age,score,left"), ["no column 'bonus'", "did you mean 'bonuss'?"], {}),
    "a target in another case": (table("Bonus,age,score,left"), ["no column 'bonus'", "did you mean 'Bonus'?"], {}),
    "an absent target": (table("salary,age,score,left"), ["no column 'bonus'", "salary, age"], {}),
    "only the target": (b"bonus\n1\n2\n", ["only the column 'bonus'", "at least one feature"], {}),
    "no header": (table("1.5,2,3,4"), ["looks like data", "--dataset.columns c1,c2,c3,c4"], {}),
    "too few names": (
        table(),
        ["4 columns, but dataset.columns has 2 names"],
        {"dataset": {"columns": ["bonus", "b"]}},
    ),
    "no header and a number as target": (
        table("1.5,2,3,4"),
        ["first line looks like data", "Put a line"],
        {"dataset": {"target": "1.5"}},
    ),
    "another encoding in the header": ("bonus,größe\n1,2\n".encode("latin-1"), ["not text in UTF-8", "latin-1"], {}),
    "another encoding in a row": (table(age_4="größer").decode().encode("latin-1"), ["row 4", "UTF-8", "Save it"], {}),
    "UTF-16 without a mark": (table().decode().encode("utf-16-le"), ["UTF-16", "Save it as a CSV file in UTF-8"], {}),
    "broken UTF-16": (
        table(age_4="Z").decode().encode("utf-16").replace("Z".encode("utf-16-le"), b"\x00\xd8"),
        ["row 4", "not text in UTF-16"],
        {},
    ),
    "an Excel workbook": (b"PK\x03\x04" + b"\0" * 50, ["Excel workbook", "Save it as a CSV"], {}),
    "JSON": (b'{"bonus": 1, "age": 2}\n', ["is JSON", "Save it as a CSV"], {}),
    "bzip2": (b"BZh91AY&SY" + b"\0" * 50, ["bzip2"], {}),
    "an Avro file": (b"Obj\x01" + b"\0" * 50, ["Avro"], {}),
    "a truncated gzip": (gzip.compress(table() * 50)[:200], ["is damaged", "Compress and upload it again"], {}),
    "a damaged gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03bonus,age\n", ["is damaged"], {}),
    "a truncated zstd": (b"\x28\xb5\x2f\xfd\x04\x00", ["is damaged"], {}),
    "a damaged Parquet file": (b"PAR1" + b"\0" * 50 + b"PAR1", ["cannot be read as Parquet", "Write it again"], {}),
    "an unclosed quote": (table(age_5='"5'), ["table.csv", "row"], {}),
}
CELLS: dict[str, Case] = {
    "text": (table(age_2="Ulm"), ["'age', row 2", "'Ulm'", "Correct these cells", "--dataset.ignore age"], {}),
    "text in the target": (table(bonus_1="high"), ["'bonus', row 1", "'high'", "Correct these cells"], {}),
    "a date": (table(score_9="2020-01-31"), ["'score', row 9", "dates", "'2020-01-31'"], {}),
    "a decimal comma": (table(age_7='"2,5"'), ["'age', row 7", "decimal comma ('2,5'", "decimal point"], {}),
    "a currency": (table(bonus_7="$5"), ["'bonus', row 7", "currency sign ('$5'", "without the currency"], {}),
    "a thousands separator": (
        table(bonus_7="1_000"),
        ["'bonus', row 7", "thousands separator ('1_000'", "as 1234"],
        {},
    ),
    "a missing marker": (table(age_20="-", age_25="-"), ["'age', row 20", "'-'", "--dataset.missing"], {}),
    "a missing number where only numbers are accepted": (
        table(age_20="", score_4="?"),
        ["columns 'age' and 'score'", "row 4", "missing"],
        {"dataset": {"features": "numeric"}},
    ),
    "a letter": (table(age_20="", score_3="x"), ["'score', row 3", "'x'", "--dataset.missing x"], {}),
    "a missing label": (table(bonus_2=""), ["'bonus', row 2", "missing", "without a label"], {}),
    "infinity": (table(age_6="inf"), ["'age', row 6", "infinite", "Replace"], {}),
    "minus infinity": (table(bonus_6="-Infinity"), ["'bonus', row 6", "infinite"], {}),
    "beyond float64": (table(score_6="1e400"), ["'score', row 6", "infinite"], {}),
    "beyond float32": (table(score_6="1e39"), ["'score', row 6", "3.4e38", "Rescale"], {}),
}
CONTENT: dict[str, Case] = {
    "a constant target": (table(bonus=7), ["'bonus'", "is 7 in every row", "cannot be learned"], {}),
    "a copy of the target": (table(age=lambda row: ROWS[row - 1][0]), ["'age'", "'bonus'"], {}),
    "too few rows for three sets": (b"bonus,age\n1,2\n2,3\n", ["2 rows cannot be split"], {}),
    "too few rows to train": (b"bonus,age\n1,2\n2,1\n3,3\n4,1\n5,5\n6,1\n", ["channel train", "at least 10"], {}),
    "three classes for a binary classifier": (
        table(left=lambda row: row % 3),
        ["'left'", "3 distinct labels", "multiclass_classifier"],
        {"dataset": {"target": "left"}, "hyperparameters": BINARY},
    ),
    "one class only": (
        table(left=1),
        ["'left'", "is 1 in every row"],
        {"dataset": {"target": "left"}, "hyperparameters": BINARY},
    ),
    "a class in two rows": (
        table(left=lambda row: int(row in {5, 50})),
        ["'left', row 5", "too few"],
        {"dataset": {"target": "left"}, "hyperparameters": BINARY},
    ),
    "num_classes too small": (
        table(left=lambda row: row % 4),
        ["num_classes is 3", "4 classes", "Leave it empty"],
        {"dataset": {"target": "left"}, "hyperparameters": THREE},
    ),
    "a continuous target for a classifier": (
        table(),
        ["'bonus'", "predictor_type to regressor"],
        {"hyperparameters": {"predictor_type": "multiclass_classifier"}},
    ),
    "a wrong feature_dim": (
        table(),
        ["feature_dim", "3 feature columns", "Set it to 3"],
        {"hyperparameters": {"feature_dim": 5}},
    ),
    "batches larger than the data": (
        table(),
        ["mini_batch_size is 500", "42 training rows", "at most 42"],
        {"hyperparameters": {"mini_batch_size": 500}},
    ),
    "an unknown column to ignore": (
        table(),
        ["no column 'agee' (did you mean 'age'?) to ignore"],
        {"dataset": {"ignore": ["agee"]}},
    ),
    "an unknown column of categories": (
        table(),
        ["no column 'agee' (did you mean 'age'?) to use as a category"],
        {"dataset": {"categorical": ["agee"]}},
    ),
    "all features ignored": (
        table(),
        ["only the column 'bonus'", "at least one feature"],
        {"dataset": {"ignore": ["age", "score", "left"]}},
    ),
    "an unknown column to split by": (
        table(),
        ["no column 'week' to split by", "It has: bonus"],
        {"split": {"method": "time", "column": "week"}},
    ),
    "a missing group": (
        table(age_8=""),
        ["row 8", "column 'age'", "to split by is missing"],
        {"split": {"method": "group", "column": "age"}},
    ),
    "one group only": (table(age=3), ["cannot be split"], {"split": {"method": "group", "column": "age"}}),
}
CATALOGUE = FILES | CELLS | CONTENT


@flow(name="collect-errors", persist_result=False)
def collect_errors(runs: dict[str, dict[str, Any]]) -> dict[str, Exception]:
    """The error of the flow's function for each case; in one flow run, because each takes most of a second."""
    errors: dict[str, Exception] = {}
    for case, parameters in runs.items():
        with pytest.raises((DataError, HyperparameterError)) as caught:
            train_linear_learner.fn(**parameters)
        errors[case] = caught.value
    return errors


def test_every_invalid_input_is_rejected_with_position_and_remedy_without_a_job(
    parameters: dict[str, Any], put_object: Callable[[str, bytes], str], jobs: Callable[[], list[str]]
) -> None:
    runs = {}
    for number, (case, (content, _, chosen)) in enumerate(CATALOGUE.items()):
        source = put_object(f"{number}/table.csv", content)
        runs[case] = parameters | {
            "dataset": Dataset(**{"source": source, "target": "bonus", **chosen.get("dataset", {})}),
            "split": Split(**chosen.get("split", {})),
            "hyperparameters": RequestedHyperparameters(**chosen.get("hyperparameters", {})),
        }
    errors = collect_errors(runs)
    for case, (_, parts, _) in CATALOGUE.items():
        error = errors[case]
        assert all(part in str(error) for part in parts), (case, error)
        is_located = "table.csv" in str(error) or not isinstance(error, DataError) or "cannot be split" in str(error)
        assert is_located, (case, error)
        assert len(str(error)) < 1000, case
    assert jobs() == []


def test_an_invalid_input_fails_the_run(parameters: dict[str, Any], put_object: Callable[[str, bytes], str]) -> None:
    source = put_object("table.csv", CATALOGUE["an absent target"][0])
    state: State[Any] = train_linear_learner(**parameters | {"dataset": Dataset(source=source)}, return_state=True)
    assert state.is_failed()
    assert isinstance(state.result(raise_on_failure=False), DataError)


def test_the_catalogue_has_at_least_forty_cases() -> None:
    assert len(CATALOGUE) >= 40
