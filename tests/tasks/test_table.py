"""A table is either columns of finite numbers or a DataError that says where it is wrong and what to do."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linear_learner.errors import DataError
from tasks.table import read_table, write_channel

ANY_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
BAD = {
    "nothing": (b"", ["is empty", "header line"]),
    "only a line break": (b"\n", ["is empty"]),
    "only blanks": (b"\n\n\n", ["is empty"]),
    "only a byte order mark": (b"\xef\xbb\xbf", ["is empty"]),
    "a header without rows": (b"bonus,age\n", ["no rows"]),
    "a header without line end": (b"bonus,age", ["no rows"]),
    "a row too short": (b"bonus,age\n1,2\n3\n", ["row 2", "'age'", "missing"]),
    "a row too long": (b"bonus,age\n1,2\n3,4\n5,6,7\n", ["row 3", "3 values", "2"]),
    "text": (b"bonus,age,city\n1,2,3\n4,5,Ulm\n", ["row 2", "'city'", "'Ulm' is not a number", "one-hot"]),
    "text in the target": (b"bonus,age\nhigh,2\n", ["row 1", "'bonus'", "'high' is not a number"]),
    "a date": (b"bonus,hired\n1,2020-01-31\n", ["row 1", "'hired'", "'2020-01-31' is not a number"]),
    "a decimal comma": (b'bonus,age\n1,"2,5"\n', ["row 1", "'age'", "'2,5' is not a number"]),
    "semicolons": (b"bonus;age\n1;2\n", ["no column 'bonus'", "bonus;age"]),
    "a missing number": (b"bonus,age\n1,2\n3,\n5,6\n", ["row 2", "'age'", "missing", "Fill it in"]),
    "a missing label": (b"bonus,age\n1,2\n,4\n", ["row 2", "'bonus'", "missing"]),
    "a missing flag": (b"bonus,age\n1,true\n2,\n", ["row 2", "'age'", "missing"]),
    "a column of nothing": (b"bonus,age\n1,\n2,\n", ["row 1", "'age'", "missing"]),
    "blanks for a number": (b"bonus,age\n1,2\n3,  \n", ["row 2", "'age'", "missing"]),
    "nan": (b"bonus,age\n1,2.5\n3,nan\n", ["row 2", "'age'", "nan", "not a finite number"]),
    "NaN": (b"bonus,age\n1,2.5\n3,NaN\n", ["row 2", "'age'", "not a finite number"]),
    "infinity": (b"bonus,age\n1,2.5\n3,inf\n", ["row 2", "'age'", "inf is not a finite number"]),
    "minus infinity": (b"bonus,age\n-inf,2\n", ["row 1", "'bonus'", "-inf is not a finite number"]),
    "a number too large": (b"bonus,age\n1,2\n1,1e400\n", ["row 2", "'age'", "finite"]),
    "a column twice": (b"bonus,age,age\n1,2,3\n", ["more than one column named 'age'", "Rename"]),
    "a misspelt target": (b"bonuss,age\n1,2\n", ["no column 'bonus'", "Did you mean 'bonuss'?"]),
    "another case": (b"Bonus,age\n1,2\n", ["no column 'bonus'", "Did you mean 'Bonus'?"]),
    "an absent target": (b"salary,age\n1,2\n", ["no column 'bonus'", "salary, age"]),
    "nothing but the target": (b"bonus\n1\n2\n", ["only the column 'bonus'", "at least one feature"]),
    "another encoding": ("bonus,größe\n1,2\n".encode("latin-1"), ["not text in UTF-8", "Save it"]),
    "another encoding below the header": ("bonus,size\n1,größer\n".encode("latin-1"), ["UTF-8"]),
    "UTF-16": ("bonus,age\n1,2\n".encode("utf-16"), ["UTF-8"]),
    "a quote never closed": (b'bonus,age\n1,"2\n' + b"3,4\n" * 50, ["table.csv"]),
    "a header that never ends": (b'bonus,"' + b"x" * 200_000, ["table.csv"]),
    "a cell that never ends": (b"bonus,age\n1,2," + b"x" * 200_000 + b"\n", ["table.csv"]),
    "a text without end": (b"bonus,age\n1," + b"x" * 200_000 + b"\n", ["row 1", "'age'", "is not a number"]),
    "a header of long names": (b"x" * 5000 + b",age\n1,2\n", ["no column 'bonus'"]),
    "a compressed file": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03bonus,age\n", ["UTF-8"]),
}
GOOD = {
    "plain": b"bonus,age\n1,2\n3,4.5\n",
    "no line end at the end": b"bonus,age\n1,2\n3,4.5",
    "lines end as on Windows": b"bonus,age\r\n1,2\r\n3,4.5\r\n",
    "a byte order mark": b"\xef\xbb\xbfbonus,age\n1,2\n3,4.5\n",
    "a byte order mark and quotes": b'\xef\xbb\xbf"bonus","age"\n1,2\n3,4.5\n',
    "quoted": b'"bonus","age"\n"1","2"\n"3","4.5"\n',
    "spaces around numbers": b"bonus,age\n 1,2 \n3 , 4.5\n",
    "the target last": b"age,bonus\n2,1\n4.5,3\n",
    "a blank line at the end": b"bonus,age\n1,2\n3,4.5\n\n",
    "exponents": b"bonus,age\n1e0,0.2E1\n+3,45e-1\n",
}


def table(folder: Path, content: bytes) -> pl.DataFrame:
    path = folder / "table.csv"
    path.write_bytes(content)
    return read_table(path, "bonus")


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_refused_with_its_place_and_a_cure(case: str, tmp_path: Path) -> None:
    content, said = BAD[case]
    with pytest.raises(DataError) as caught:
        table(tmp_path, content)
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert message.startswith("table.csv")
    assert len(message) < 500


@pytest.mark.parametrize("case", GOOD)
def test_what_spreadsheets_and_pandas_write_is_read(case: str, tmp_path: Path) -> None:
    frame = table(tmp_path, GOOD[case])
    assert sorted(frame.columns) == ["age", "bonus"]
    assert frame.select(pl.col("bonus", "age").cast(pl.Float64)).rows() == [(1.0, 2.0), (3.0, 4.5)]


@pytest.mark.parametrize("flags", ["true,false", "True,False", "TRUE,FALSE", " True , False ", '"true","False"'])
def test_true_and_false_are_one_and_zero(flags: str, tmp_path: Path) -> None:
    frame = table(tmp_path, f"bonus,age\n{flags}\n{','.join(reversed(flags.split(',')))}\n".encode())
    assert frame.rows() == [(1, 0), (0, 1)]


def test_a_row_is_counted_from_the_first_below_the_header_however_far_down(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 30001, column 'age': 'x' is not a number"):
        table(tmp_path, b"bonus,age\n" + b"1,2\n" * 30_000 + b"1,x\n" + b"1,2\n" * 10)


def test_numbers_that_turn_fractional_late_keep_their_fractions(tmp_path: Path) -> None:
    frame = table(tmp_path, b"bonus,age\n" + b"1,2\n" * 30_000 + b"1,2.5\n")
    assert frame["age"][-1] == 2.5


def test_the_message_names_the_table_as_its_owner_knows_it(tmp_path: Path) -> None:
    (tmp_path / "local.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"^s3://data/table\.csv is empty"):
        read_table(tmp_path / "local.csv", "bonus", "s3://data/table.csv")


@ANY_FOLDER
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_data_error(tmp_path: Path, content: bytes) -> None:
    for start in (b"", b"bonus,age\n1,2\n", b"bonus,age,"):
        check_read(tmp_path, start + content)


@ANY_FOLDER
@given(st.text("ab1e0.-+,;\"'\n\r \t\0é#nNif", max_size=30))
def test_no_almost_csv_raises_anything_but_a_data_error(tmp_path: Path, text: str) -> None:
    for start in ("", "bonus,age\n1,2\n", "bonus,age"):
        check_read(tmp_path, (start + text).encode())


def check_read(folder: Path, content: bytes) -> None:
    """Refused, or read as what the caller may rely on."""
    try:
        frame = table(folder, content)
    except DataError:
        return
    assert frame.height > 0
    assert "bonus" in frame.columns
    assert len(set(frame.columns)) == frame.width >= 2
    assert np.isfinite(frame.cast(pl.Float64).to_numpy()).all()


@ANY_FOLDER
@given(
    st.lists(
        st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2, st.integers(-(2**63), 2**63 - 1)), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_any_numbers_are_read_and_written_without_loss_in_the_order_asked_for(
    tmp_path: Path, values: list[tuple[float, float, int]], random: np.random.Generator
) -> None:
    # The bytes differ from pandas' where an exponent is printed (1e-05 there, 1e-5 here); the numbers do not.
    frame = pd.DataFrame(values, columns=["one", "bonus", "three"])
    frame.to_csv(tmp_path / "table.csv", index=False)
    order = list(range(len(values)))
    random.shuffle(order)
    read = read_table(tmp_path / "table.csv", "bonus")
    write_channel(read, "bonus", np.array(order, np.intp), tmp_path / "channel.csv")
    back = pd.read_csv(tmp_path / "channel.csv", header=None, names=["bonus", "one", "three"])
    pd.testing.assert_frame_equal(
        back, frame.iloc[order][["bonus", "one", "three"]].reset_index(drop=True), check_exact=True, check_dtype=False
    )


def test_a_channel_is_whole_or_not_there(tmp_path: Path) -> None:
    frame = pl.DataFrame({"bonus": [1.0], "age": [2.0]})
    write_channel(frame, "bonus", np.array([0], np.intp), tmp_path / "new" / "train.csv")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train.csv"]
    with pytest.raises(pl.exceptions.PolarsError):
        write_channel(frame, "nobody", np.array([0], np.intp), tmp_path / "new" / "test.csv")
    assert not (tmp_path / "new" / "test.csv").exists()
