"""Every split method gives the same rows as scikit-learn and pandas on the whole frame."""

from collections.abc import Callable
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.data.row_assignment import assign_rows
from tasks.format import Formatted, format_channels
from tasks.load import find, load
from tasks.parameters import Dataset, Split
from tasks.split import CHANNELS, split_rows
from tests.tasks.encodings import encoding_of

pytestmark = pytest.mark.usefixtures("machine")

PutObject = Callable[[str, bytes], str]
STRATIFIED = Split(method="stratified")


def customers(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """An unsorted table with a class, a date as text and a customer's name."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "churned": (random.random(rows) < 0.1).astype(int),
            "age": random.integers(20, 60, rows),
            "spent": random.random(rows).round(3),
            "day": [f"2026-{month:02d}-{day:02d}" for month, day in random.integers(1, 13, (rows, 2))],
            "customer": [f"c{number}" for number in random.integers(0, 40, rows)],
        }
    )


def prepare_channels(
    workspace: Workspace, frame: pd.DataFrame, put: PutObject, split: Split, **more: object
) -> Formatted:
    uri = put("customers.csv", frame.to_csv(index=False).encode())
    dataset = Dataset.model_validate({"source": uri, "target": "churned", **more})
    table = load(workspace, find(workspace, dataset), dataset)
    rows = split_rows(workspace, table, split)
    return format_channels(workspace, table, rows, encoding_of(workspace, table, rows, dataset))


def contents(formatted: Formatted) -> dict[str, bytes]:
    return {file.channel: formatted.path(file).read_bytes() for file in formatted.files}


def rows_of(frame: pd.DataFrame, *columns: str) -> bytes:
    return frame[list(columns)].to_csv(index=False, header=False).encode()


def test_a_stratified_split_equals_train_test_split_with_stratify(workspace: Workspace, put_object: PutObject) -> None:
    frame = customers()
    formatted = prepare_channels(workspace, frame, put_object, STRATIFIED, ignore=["day", "customer"])
    train, rest = train_test_split(frame, test_size=0.3, random_state=42, stratify=frame["churned"])
    validation, test = train_test_split(rest, test_size=0.33, random_state=42, stratify=rest["churned"])
    expected = {
        name: rows_of(part, "churned", "age", "spent")
        for name, part in zip(CHANNELS, (train, validation, test), strict=True)
    }
    assert contents(formatted) == expected


def test_a_split_by_time_trains_on_the_earliest_rows_without_the_time_column(
    workspace: Workspace, put_object: PutObject
) -> None:
    frame = customers()
    formatted = prepare_channels(workspace, frame, put_object, Split(method="time", column="day"), ignore=["customer"])
    ordered = frame.sort_values("day", kind="stable")
    held = ceil(0.3 * len(frame))
    test = ceil(0.33 * held)
    parts = (ordered[:-held], ordered[-held:-test], ordered[-test:])
    assert contents(formatted) == {
        name: rows_of(part, "churned", "age", "spent") for name, part in zip(CHANNELS, parts, strict=True)
    }
    assert formatted.features == ("age", "spent")


def test_row_numbers_are_cached_on_each_machine(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "customers.csv"
    customers().to_csv(path, index=False)
    dataset = Dataset(source=str(path), target="churned", ignore=("day", "customer"))
    split = Split(method="group", column="customer")
    table = load(workspace, find(workspace, dataset), dataset)
    rows = split_rows(workspace, table, split)
    computed = rows.row_numbers(workspace, table)
    path.unlink()
    cached = rows.row_numbers(workspace, table)
    assert all((cached[channel] == computed[channel]).all() for channel in CHANNELS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    with pytest.raises(DataError, match="was changed or removed"):
        rows.row_numbers(workspace, table)


def test_numeric_times_are_ordered_by_size(workspace: Workspace, put_object: PutObject) -> None:
    frame = customers(40).assign(day=[9, 10, 100, 1] * 10)
    formatted = prepare_channels(workspace, frame, put_object, Split(method="time", column="day"), ignore=["customer"])
    train = frame.sort_values("day", kind="stable")[:28]
    assert contents(formatted)["train"] == rows_of(train, "churned", "age", "spent")


@pytest.mark.parametrize(
    ("form", "step"),
    [("%d.%m.%Y", "D"), ("%m/%d/%Y", "D"), ("%d/%m/%Y", "D"), ("%Y-%m", "MS"), ("%Y-%m-%dT%H:%M:%S.%f", "300ms")],
)
def test_times_in_any_recognised_format_are_ordered_by_time(
    workspace: Workspace, put_object: PutObject, form: str, step: str
) -> None:
    frame = customers(100)
    times = pd.Series(pd.date_range("2025-11-20", periods=100, freq=step)).sample(frac=1, random_state=0)
    frame["day"] = times.dt.strftime(form).to_numpy()
    formatted = prepare_channels(workspace, frame, put_object, Split(method="time", column="day"), ignore=["customer"])
    earliest = frame.iloc[np.argsort(times.to_numpy(), kind="stable")[:70]]
    assert contents(formatted)["train"] == rows_of(earliest, "churned", "age", "spent")


@pytest.mark.parametrize("wrong", ["soon", "2026-02-30", "5.2.2026"])
def test_a_time_that_is_no_date_of_the_column_s_format_is_rejected_with_its_row(
    workspace: Workspace, put_object: PutObject, wrong: str
) -> None:
    frame = customers(20)
    frame["day"] = [f"2026-01-{day:02d}" for day in range(1, 21)]
    frame.loc[6, "day"] = wrong
    message = rf"row 7, column 'day': '{wrong}' is not a date like %Y-%m-%d. A split by time requires numbers, or dates"
    with pytest.raises(DataError, match=message):
        prepare_channels(workspace, frame, put_object, Split(method="time", column="day"), ignore=["customer"])


def test_a_split_by_group_equals_group_shuffle_split(workspace: Workspace, put_object: PutObject) -> None:
    frame = customers()
    formatted = prepare_channels(workspace, frame, put_object, Split(method="group", column="customer"), ignore=["day"])
    train, rest = next(
        GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=42).split(frame, groups=frame["customer"])
    )
    inner = GroupShuffleSplit(n_splits=1, test_size=0.33, random_state=42)
    validation, test = next(inner.split(frame.iloc[rest], groups=frame["customer"].iloc[rest]))
    expected = dict(zip(CHANNELS, (train, rest[validation], rest[test]), strict=True))
    assert contents(formatted) == {
        name: rows_of(frame.iloc[rows], "churned", "age", "spent") for name, rows in expected.items()
    }


@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(3, 20))
def test_no_group_is_in_two_sets(seed: int, rows: int, groups: int) -> None:
    keys = np.random.default_rng(seed).integers(0, groups, rows).astype(np.uint32)
    split = Split(method="group", column="customer", random_state=seed)
    try:
        chosen = assign_rows(rows, split, keys)
    except DataError:
        return
    sets = [set(keys[part].tolist()) for part in chosen.values()]
    assert sum(len(one) for one in sets) == len(set().union(*sets))
    assert sorted(np.concatenate(list(chosen.values()))) == list(range(rows))


def test_a_fixed_holdout_is_the_test_set(workspace: Workspace, put_object: PutObject) -> None:
    frame, fixed = customers(100)[["churned", "age", "spent"]], customers(30, seed=1)[["spent", "age", "churned"]]
    holdout = put_object("holdout.csv", fixed.to_csv(index=False).encode())
    formatted = prepare_channels(workspace, frame, put_object, Split(), holdout=holdout)
    train, validation = train_test_split(frame, test_size=0.3, random_state=42)
    assert contents(formatted) == {
        "train": rows_of(train, "churned", "age", "spent"),
        "validation": rows_of(validation, "churned", "age", "spent"),
        "test": rows_of(fixed, "churned", "age", "spent"),
    }


def test_a_missing_value_to_split_by_is_rejected_with_its_row(workspace: Workspace, put_object: PutObject) -> None:
    frame = customers(20)
    frame.loc[6, "customer"] = None
    with pytest.raises(DataError, match=r"row 7, column 'customer': the value to split by is missing"):
        prepare_channels(workspace, frame, put_object, Split(method="group", column="customer"), ignore=["day"])


def test_an_unknown_column_to_split_by_is_rejected_with_a_suggestion(
    workspace: Workspace, put_object: PutObject
) -> None:
    with pytest.raises(DataError, match=r"no column 'custumer' \(did you mean 'customer'\?\) to split by"):
        prepare_channels(workspace, customers(20), put_object, Split(method="group", column="custumer"))


def test_a_class_with_one_row_cannot_be_stratified(workspace: Workspace, put_object: PutObject) -> None:
    frame = customers(50).assign(churned=[1] + [0] * 49)
    with pytest.raises(DataError, match="50 rows cannot be split"):
        prepare_channels(workspace, frame, put_object, STRATIFIED)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "time"}, "a split by time needs column"),
        ({"method": "group"}, "a split by group needs column"),
        ({"column": "age"}, "column is for the methods"),
        ({"method": "kfold"}, "Input should be"),
    ],
)
def test_a_method_with_missing_or_superfluous_options_is_rejected(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Split.model_validate(wrong)
