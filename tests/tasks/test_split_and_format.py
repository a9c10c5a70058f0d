"""The rows and bytes of each channel equal those of pandas and scikit-learn's train_test_split."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from aws.storage import sha256_of
from aws.workspace import Workspace
from linear_learner.errors import DataError
from sandbox.samples import EMPLOYEES_KEY
from tasks.data.row_assignment import assign_rows, count_rows
from tasks.format import format_channels
from tasks.load import find, load
from tasks.parameters import Dataset, Split
from tasks.split import CHANNELS, split_rows
from tests.tasks.encodings import encoding_of


def reference_channels(df: pd.DataFrame, target: str) -> dict[str, bytes]:
    """Return the CSV files of the channels as pandas and scikit-learn write them."""
    train, rest = train_test_split(df, test_size=0.3, random_state=42)
    validation, test = train_test_split(rest, test_size=0.33, random_state=42)
    return {
        channel: pd.concat([part[target], part.drop(columns=target)], axis=1).to_csv(header=False, index=False).encode()
        for channel, part in zip(CHANNELS, (train, validation, test), strict=True)
    }


@pytest.mark.usefixtures("machine")
def test_the_channels_of_the_employees_equal_the_reference_byte_for_byte(workspace: Workspace) -> None:
    body = workspace.client("s3").get_object(Bucket=workspace.bucket.bucket_name, Key=EMPLOYEES_KEY)["Body"]
    df = pd.read_csv(body)
    body.close()
    table = load(workspace, find(workspace, Dataset()), Dataset())
    rows = split_rows(workspace, table, Split())
    formatted = format_channels(workspace, table, rows, encoding_of(workspace, table, rows))
    assert (table.rows, table.columns) == (len(df), tuple(df.columns))
    assert formatted.features == tuple(df.columns.drop("bonus"))
    expected = reference_channels(df, "bonus")
    for file in formatted.files:
        path = formatted.path(file)
        content = path.read_bytes()
        assert content == expected[file.channel]
        assert (file.rows, file.size, file.sha256) == (content.count(b"\n"), len(content), sha256_of(path))
    assert [file.rows for file in formatted.files] == [rows.train, rows.validation, rows.test] == [31_500, 9_045, 4_455]


@pytest.mark.usefixtures("machine")
def test_flags_are_written_as_ones_and_zeros(workspace: Workspace, put_object: Callable[[str, bytes], str]) -> None:
    random = np.random.default_rng(0)
    df = pd.DataFrame(
        {"age": random.integers(20, 60, 50), "full_time": random.random(50) < 0.5, "pay": random.random(50)}
    )
    uri = put_object("flags.csv", df.to_csv(index=False).encode())
    dataset = Dataset(source=uri, target="pay")
    table = load(workspace, find(workspace, dataset), dataset)
    rows = split_rows(workspace, table, Split())
    formatted = format_channels(workspace, table, rows, encoding_of(workspace, table, rows))
    expected = reference_channels(df.astype({"full_time": int}), "pay")
    assert {file.channel: formatted.path(file).read_bytes() for file in formatted.files} == expected


@given(
    st.integers(5, 2000),
    st.builds(
        Split,
        holdout_size=st.floats(0.05, 0.95),
        test_size=st.floats(0.05, 0.95),
        random_state=st.integers(0, 2**32 - 1),
    ),
)
def test_every_row_is_in_one_channel_which_depends_on_the_seed(rows: int, split: Split) -> None:
    if too_few(rows, split):
        for function in (assign_rows, count_rows):
            with pytest.raises(DataError, match=f"{rows} rows cannot be split"):
                function(rows, split)
        return
    chosen = assign_rows(rows, split)
    assert {channel: len(part) for channel, part in chosen.items()} == count_rows(rows, split)
    assert all(len(part) for part in chosen.values())
    assert sorted(np.concatenate(list(chosen.values()))) == list(range(rows))
    again = assign_rows(rows, split)
    assert all((chosen[channel] == again[channel]).all() for channel in CHANNELS)


def too_few(rows: int, split: Split) -> bool:
    """Return whether a channel would be empty; scikit-learn rounds the size of the holdout up."""
    holdout = math.ceil(rows * split.holdout_size)
    test = math.ceil(holdout * split.test_size)
    return holdout >= rows or test >= holdout


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_for_three_channels_are_refused(rows: int) -> None:
    with pytest.raises(DataError, match=f"^{rows} rows cannot be split"):
        assign_rows(rows, Split())


@pytest.mark.parametrize("choice", [{"holdout_size": 0}, {"holdout_size": 1}, {"test_size": 1.5}, {"random_state": -1}])
def test_shares_outside_0_and_1_and_negative_seeds_are_refused(choice: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(choice))):
        Split.model_validate(choice)
