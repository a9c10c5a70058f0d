"""Channels: the files of a folder are read into one table; errors have the file, row and column."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats import channels
from linear_learner.formats.channels import CSV, RECORDIO, media_type, read_channel
from linear_learner.formats.csv import BlockPosition, parse_block
from linear_learner.formats.recordio import read_records
from tests.linear_learner.formats.files import records


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir()
    return folder


def error_of(channel: Path, content: bytes) -> str:
    (channel / "a.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_channel(channel, CSV, channel.parent / "spool")
    return str(caught.value)


def test_files_are_read_in_the_order_of_their_paths(channel: Path, tmp_path: Path) -> None:
    (channel / "b.csv").write_text("3,30\n4,40")
    (channel / "a").mkdir()
    (channel / "a" / "part.csv").write_text("1,10\n2,20\n")
    examples = read_channel(channel, CSV, tmp_path / "spool")
    assert examples.labels.tolist() == [1, 2, 3, 4]
    assert examples.features.tolist() == [[10], [20], [30], [40]]
    assert examples.features.dtype == examples.labels.dtype == np.float32


def test_hidden_temporary_and_empty_files_are_ignored(channel: Path, tmp_path: Path) -> None:
    (channel / "a.csv").write_text("1,10")
    (channel / "folder_marker").write_bytes(b"")
    (channel / "half.tmp").write_text("header")
    (channel / ".ipynb_checkpoints").mkdir()
    (channel / ".ipynb_checkpoints" / "a.csv").write_text("header")
    assert read_channel(channel, CSV, tmp_path / "spool").labels.tolist() == [1]


def test_csv_and_recordio_of_a_real_job_give_the_same_rows(corpus: Path, tmp_path: Path) -> None:
    for kind, suffix, source in [
        (CSV, "csv", "jobs/ufo/validation.csv"),
        (RECORDIO, "data", "recordio/ufo-validation.data"),
    ]:
        (tmp_path / suffix).mkdir()
        (tmp_path / suffix / "part").symlink_to(corpus / source)
        examples = read_channel(tmp_path / suffix, kind, tmp_path / "spool")
        expected = np.loadtxt(corpus / "jobs/ufo/validation.csv", delimiter=",", dtype=np.float32)
        assert examples.features.shape == (1773, 22)
        if kind == CSV:
            np.testing.assert_array_equal(np.column_stack([examples.labels, examples.features]), expected)
        else:
            np.testing.assert_array_equal(examples.labels, read_records(corpus / source).labels)


@pytest.mark.parametrize("content_type", [CSV, RECORDIO])
def test_a_large_channel_is_spooled_to_a_file_with_the_same_rows(
    channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    table = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    for part, rows in enumerate(np.split(table, 5)):
        if content_type == CSV:
            np.savetxt(channel / f"{part}.csv", rows, delimiter=",", fmt="%.9g")
        else:
            (channel / f"{part}.data").write_bytes(records(rows[:, 1:], rows[:, 0]))
    in_memory = read_channel(channel, content_type, tmp_path / "unused")
    assert not isinstance(in_memory.features, np.memmap)
    monkeypatch.setattr(channels, "_MAX_BYTES_IN_MEMORY", 4 * 3 * 250)
    (tmp_path / "spool").mkdir()
    spooled = read_channel(channel, content_type, tmp_path / "spool")
    assert isinstance(spooled.features, np.memmap)
    assert not list((tmp_path / "spool").iterdir())
    np.testing.assert_array_equal(spooled.features, in_memory.features)
    np.testing.assert_array_equal(np.column_stack([spooled.labels, spooled.features]), table)
    reread = read_channel(channel, content_type, tmp_path / "spool")
    np.testing.assert_array_equal(reread.features, spooled.features)


def test_a_file_of_many_blocks_is_read_and_errors_have_the_row_in_the_file(channel: Path, tmp_path: Path) -> None:
    lines = [f"{row},{row / 7!r}" for row in range(300_000)]
    (channel / "a.csv").write_text("\n".join(lines))
    examples = read_channel(channel, CSV, tmp_path / "spool")
    np.testing.assert_array_equal(examples.labels, np.arange(300_000, dtype=np.float32))
    lines[290_000] = "1,x"
    assert "train/a.csv, row 290001, column 2: found 'x'" in error_of(channel, "\n".join(lines).encode())


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"1,2\r\n3,4\r\n", [1, 3]),
        (b"1,2\n3,4", [1, 3]),
        (b"1,2\n3,4\n\n\r\n", [1, 3]),
        (b" 1 , 2\t\n+3,4 ", [1, 3]),
        (b"1e-3,.5\n-2.5E+2,5.", [np.float32(0.001), -250]),
    ],
)
def test_usual_line_ends_and_number_formats_are_read(
    channel: Path, tmp_path: Path, content: bytes, labels: list[float]
) -> None:
    (channel / "a.csv").write_bytes(content)
    assert read_channel(channel, CSV, tmp_path / "spool").labels.tolist() == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2\n3\n", "train/a.csv, row 2 has 1 columns where 2 are expected"),
        (b"1,2\n3,4,\n", "row 2 has 3 columns where 2 are expected"),
        (b"1,2,3\n4,5\n6,7,8,9\n", "row 2 has 2 columns where 3 are expected"),
        (b"1,2\n\n3,4", "row 2 is empty"),
        (b"\n1,2", "row 1 is empty"),
        (b"1,2\n \n", "row 2 is empty"),
        (b"price,rooms\n1,2\n", "row 1 looks like a header: 'price,rooms'; Linear Learner accepts none"),
        (b"1,2\nprice,rooms\n", "row 2, column 1: found 'price', which is not a number"),
        (b"1,2\n3,abc\n", "row 2, column 2: found 'abc', which is not a number"),
        (b"1,1 000\n", "row 1, column 2: found '1 000', which is not a number"),
        (b"1,1_000\n", "row 1, column 2: found '1_000', which is not a number"),
        (b'1,"2.5"\n', "row 1, column 2: found '\"2.5\"', which is quoted"),
        (b"1,2\n3,nan\n", "row 2, column 2: found 'nan', which is not finite"),
        (b"1,2\n-inf,1\n", "row 2, column 1: found '-inf', which is not finite"),
        (b"1,2\n3,4e38\n", "row 2, column 2: found '4e38', which is outside float32's range"),
        (b"\xef\xbb\xbf1,2\n", "row 1, column 1: found '\\ufeff1', a UTF-8 byte order mark"),
        ("1,2\n3,4".encode("utf-16"), "row 1 looks like a header"),
        (b"1,2\r3,4\r", "row 1 has 3 columns|row 1, column 2: found '2\\\\r3'"),
        (b"1\n2\n", "train/a.csv has one column; Linear Learner needs the label and at least one feature"),
        (b"\n\r\n", "channel 'train' is empty"),
    ],
)
def test_invalid_data_is_refused_with_row_and_column(channel: Path, content: bytes, message: str) -> None:
    found = error_of(channel, content)
    assert message in found or re.search(message, found)


def test_missing_values_are_listed_as_in_the_container(channel: Path) -> None:
    message = error_of(channel, b"1,2,3\n,2,\n1, ,3\n")
    assert message.startswith(
        "Found at least 3 entries in train/a.csv with missing values:\n"
        "Row 2, column 1\nRow 2, column 3\nRow 3, column 2\n"
    )


def test_missing_values_are_listed_up_to_the_first_line_with_another_error(channel: Path) -> None:
    message = error_of(channel, b"1,2,3\n,2,\n\n,2,3\n")
    assert message.startswith("Found at least 2 entries in train/a.csv with missing values:\nRow 2, column 1\n")


def test_at_most_sixteen_missing_values_are_listed(channel: Path) -> None:
    message = error_of(channel, b"1,\n" * 40)
    assert message.startswith("Found at least 16 entries")
    assert message.count("Row ") == 16


def test_an_error_in_a_later_file_has_the_row_in_the_file_and_in_the_channel(channel: Path, tmp_path: Path) -> None:
    (channel / "a.csv").write_text("1,2\n" * 10)
    (channel / "b.csv").write_text("1,2\n1,x\n")
    with pytest.raises(DataError, match=re.escape("train/b.csv, row 2 (row 12 of the channel), column 2: found 'x'")):
        read_channel(channel, CSV, tmp_path / "spool")
    (channel / "b.csv").write_text("1,2,3\n")
    with pytest.raises(DataError, match=r"train/b\.csv has 2 features, but the files before it have 1"):
        read_channel(channel, CSV, tmp_path / "spool")


def test_a_channel_without_rows_is_refused(channel: Path, tmp_path: Path) -> None:
    for folder in (channel, tmp_path / "missing"):
        with pytest.raises(DataError, match=f"channel '{folder.name}' is empty"):
            read_channel(folder, RECORDIO, tmp_path / "spool")


def test_a_file_of_another_format_than_the_content_type_is_refused(channel: Path, tmp_path: Path) -> None:
    (channel / "a").write_bytes(records(np.ones((1, 1)), np.ones(1)))
    with pytest.raises(DataError, match="train/a is RecordIO, not CSV; set the channel's content type"):
        read_channel(channel, CSV, tmp_path / "spool")
    (channel / "a").write_text("1,2\n3,4\n5,6\n")
    with pytest.raises(ArtifactError, match=r"train/a: record 1 does not start with .* check the content type"):
        read_channel(channel, RECORDIO, tmp_path / "spool")


@pytest.mark.parametrize("content_type", ["text/csv", "Text/CSV ", "text/csv;label_size=1", "text/csv; charset=utf-8"])
def test_spellings_of_the_csv_content_type_are_accepted(content_type: str) -> None:
    assert media_type(content_type) == CSV


@pytest.mark.parametrize("content_type", ["csv", "", "text/plain", "application/json", "libsvm", "text/csv2"])
def test_an_unknown_content_type_is_refused_with_the_known_ones(content_type: str) -> None:
    with pytest.raises(DataError, match=r"use 'text/csv' or 'application/x-recordio-protobuf'"):
        media_type(content_type)


@pytest.mark.parametrize("label_size", ["0", "2", "", "1.0", "x"])
def test_a_label_size_other_than_one_is_refused(label_size: str) -> None:
    with pytest.raises(DataError, match="one label"):
        media_type(f"text/csv;label_size={label_size}")


NUMBERS = st.floats(-(2.0**120), 2.0**120, width=32)
SPELLINGS = st.sampled_from(["{!r}", " {!r}", "{!r} ", "{:.3e}", "{:+.2f}"])


@given(st.lists(st.lists(st.tuples(NUMBERS, SPELLINGS), min_size=3, max_size=3), min_size=1, max_size=20))
def test_numbers_are_read_as_in_python(rows: list[list[tuple[float, str]]]) -> None:
    texts = [[spelling.format(number) for number, spelling in row] for row in rows]
    parsed = parse_block("\n".join(map(",".join, texts)).encode(), 0, BlockPosition("a"))
    np.testing.assert_array_equal(parsed, np.array([[float(text) for text in row] for row in texts], np.float32))


@settings(max_examples=500)
@example(" ,2")
@example("1, ,2")
@example("1,\r\n2,3")
@example("1\n \n2")
@example("1,2\n3, ")
@example("1,2\n3,\x0b")
@example("1,2\n3,4\x00")
@given(st.text(alphabet='0123456789.,+-eE \t\r\n"naifx_\x00\x0b\x0c\u0663', max_size=30))
def test_any_text_is_either_parsed_or_refused_with_its_position(text: str) -> None:
    try:
        with np.errstate(over="ignore"):
            expected = [
                [np.float32(field.strip(" \t\v\f")) for field in line.removesuffix("\r").split(",")]
                for line in text.split("\n")
            ]
        is_table = len({len(row) for row in expected}) == 1 and bool(np.isfinite(expected).all())
    except ValueError:
        is_table = False
    if is_table and text.isascii() and "_" not in text and "\r" not in text.replace("\r\n", "\n").removesuffix("\r"):
        np.testing.assert_array_equal(parse_block(text.encode(), 0, BlockPosition("a")), expected)
    else:
        with pytest.raises(DataError, match=r"^a, row \d|at least [1-9]"):
            parse_block(text.encode(), 0, BlockPosition("a"))
