"""A table reads to the same frame in every dialect; bytes that are no table raise an error with the right row."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from linear_learner.errors import ArtifactError, DataError
from tasks.data import text_stream
from tasks.data.reader import TableFile
from tasks.parameters import Reading

ANY_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
NAMES = ("target", "größe", "note")
ROWS = [["1", "0.5", "Anna"], ["2", "-12.25", "two words"], ["3", "", "x, y; z"], ["4", "3.0", "NA"], ["5", "7", "€ 5"]]
EXPECTED = pl.DataFrame(
    {
        "target": pl.Series([1, 2, 3, 4, 5], dtype=pl.Int8),
        "größe": [0.5, -12.25, None, 3.0, 7.0],
        "note": ["Anna", "two words", "x, y; z", None, "€ 5"],
    }
)


def write(rows: Sequence[Sequence[str]], separator: str = ",", end: str = "\n", *, quote: bool = False) -> str:
    text = io.StringIO(newline="")
    style = csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=style).writerows(rows)
    return text.getvalue()


def read(path: Path, content: bytes, columns: Sequence[str] | None = None, **reading: object) -> pl.DataFrame:
    path.write_bytes(content)
    file = TableFile(path, "t.csv", Reading.model_validate(reading))
    chunks = list(file.chunks(columns or file.names))
    return pl.concat(chunks, how="vertical_relaxed") if chunks else pl.DataFrame(schema=list(columns or file.names))


@pytest.mark.parametrize("quote", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
def test_a_table_reads_to_the_same_frame_in_every_dialect(
    separator: str, encoding: str, end: str, tmp_path: Path, *, quote: bool
) -> None:
    rows = [[cell or "?" for cell in row] for row in [list(NAMES), *ROWS]]
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    content = (mark + write(rows, separator, end, quote=quote)).encode(encoding)
    assert_frame_equal(read(tmp_path / "t", gzip.compress(content) if quote else content), EXPECTED)


@ANY_FOLDER
@given(
    st.lists(
        st.tuples(
            st.integers(-1000, 1000).map(str),
            st.floats(-1e6, 1e6).map(repr),
            st.text("abcdefö, ;|'", max_size=8).map(lambda text: f"x{text}y"),
        ),
        min_size=2,
        max_size=30,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 3),
    st.booleans(),
)
def test_any_table_reads_to_the_same_frame_in_every_dialect(
    tmp_path: Path, rows: list[tuple[str, ...]], separator: str, encoding: str, end: str, blank: int, quote: bool
) -> None:
    expected = pl.DataFrame(
        {
            "target": pl.Series([int(row[0]) for row in rows]).shrink_dtype(),
            "size": [float(row[1]) for row in rows],
            "note": [row[2] for row in rows],
        }
    )
    table = [["target", "size", "note"], *rows]
    found = read(tmp_path / "t", (end * blank + write(table, separator, end, quote=quote)).encode(encoding))
    assert_frame_equal(found, expected, check_dtypes=False)
    assert found.dtypes[2] == pl.String


@ANY_FOLDER
@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.text('ab1,;\t| "\n\r.?', max_size=60).map(str.encode)
)
@example(b"PAR1" + b"\0" * 30 + b"PAR1")
@example(b"\x1f\x8b\x08\0")
@example(b"\xff\xfea")
@example(b"a,b\n1,\xff\n")
@example(b'a,b\n1,"2\n3,4\n')
@example(b"\xff\xfe\x00\xd8a\x00")
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    for reading in (Reading(), Reading(encoding="latin-1", missing=("1",)), Reading(columns=("a", "b"))):
        file = TableFile(path, "t.csv", reading)
        try:
            heights = {sum(chunk.height for chunk in file.chunks(columns)) for columns in (file.names, file.names[:1])}
            heights.add(len(file.text_column(file.names[0])))
        except (DataError, ArtifactError):
            continue
        assert len(heights) == 1


@pytest.mark.parametrize("separator", [";", "\t", "|", " "])
def test_decimal_commas_are_read_as_numbers(separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (200,))
    for last in (["7"], ["7", "C_D"], ["7", "A.B."]):  # points are not decimal points in such a file
        rows = [[f"{number},5", str(number), *last] for number in range(100)]
        content = write([["a", "b", "c", "d"][: len(rows[0])], *rows], separator).encode()
        found = read(tmp_path / "t", content)
        assert found["a"].to_list() == [number + 0.5 for number in range(100)]
        assert found["b"].to_list() == list(range(100))
        assert found["c"].to_list() == [7] * 100
    assert TableFile(tmp_path / "t", "t").text_column("a")[1] == "1.5"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1,234", "5,678"], "thousands separators"),
        (["1,5", "2,5"], "another column has decimal points"),
        (["0,5", "x"], "a text"),
    ],
)
def test_ambiguous_decimal_commas_remain_text(cells: list[str], reason: str, tmp_path: Path) -> None:
    other = "7.25" if "points" in reason else "1"
    content = "".join(f"{cell};{other}\n" for cell in cells)
    assert read(tmp_path / "t", f"a;b\n{content}".encode())["a"].to_list() == cells, reason


def test_a_decimal_comma_between_commas_remains_text(tmp_path: Path) -> None:
    assert read(tmp_path / "t", b'a,b\n"0,5",1\n"1,5",2\n')["a"].to_list() == ["0,5", "1,5"]


def test_a_decimal_point_among_decimal_commas_is_an_error_with_its_row(tmp_path: Path) -> None:
    content = b"a;b\n" + b"1,5;2\n" * 50_000 + b"1.234;2\n"
    with pytest.raises(DataError, match=r"t.csv, row 50001, column 'a': '1.234' has a point.*decimal commas"):
        read(tmp_path / "t", content)
    assert read(tmp_path / "t", content, ["b"]).height == 50_001


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("columns", [(), ("a", "b", "c")])
def test_a_row_with_the_wrong_number_of_values_is_named(
    separator: str, encoding: str, columns: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (300,))
    reading = Reading(columns=columns, encoding="latin-1" if encoding == "latin-1" else "utf-8")
    for bad, count in ((["1", "2"], "2 values"), (["1"], "1 value"), (["1", "2", "3", "4"], "4 values")):
        rows = [["7", "1.5", "ö"]] * 99 + [bad] + [["7", "1.5", "ö"]] * 9
        header = [] if columns else [["a", "b", "c"]]
        content = ("\n\r\n" + write([*header, *rows], separator)).encode(encoding)
        expected = "there are 3 columns" if columns else "the header has 3"
        (tmp_path / "t").write_bytes(content)
        for chosen in (["a", "b", "c"], ["a"], ["c", "b"]):
            with pytest.raises(DataError, match=f"t.csv, row 100: {count}, but {expected}"):
                list(TableFile(tmp_path / "t", "t.csv", reading).chunks(chosen))


@pytest.mark.parametrize(("encoding", "invalid"), [("utf-8", b"\xfc"), ("utf-16-le", b"\x00\xd8")])
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_bytes_that_are_no_text_are_named_with_their_row(
    encoding: str, invalid: bytes, end: str, tmp_path: Path
) -> None:
    good = f'1,"x{end}y"{end}'.encode(encoding)
    mark = "\ufeff".encode(encoding)
    content = (
        mark + f"a,b{end}".encode(encoding) + good * 40 + "1,x".encode(encoding) + invalid + f"{end}".encode(encoding)
    )
    with pytest.raises(DataError, match=f"t.csv, row 41: not text in {encoding.upper()}") as caught:
        read(tmp_path / "t", content + good * 3)
    assert ("--dataset.encoding latin-1" in str(caught.value)) == (encoding == "utf-8")


def test_latin_1_is_read_when_asked_for(tmp_path: Path) -> None:
    content = "größe,b\n1,ä\n2,ö\n".encode("latin-1")
    with pytest.raises(DataError, match="its header: not text in UTF-8"):
        read(tmp_path / "t", content)
    assert read(tmp_path / "t", content, encoding="latin-1").to_dict(as_series=False) == {
        "größe": [1, 2],
        "b": ["ä", "ö"],
    }


def test_further_missing_markers_are_null_however_they_are_written(tmp_path: Path) -> None:
    content = b"a,b,c\n-999,-,1\n-999.0,x,2\n3,NA,3\n" + b"4,y,4\n" * 50_000
    found = read(tmp_path / "t", content, missing=["-", "-999"])
    assert found.head(3).rows() == [(None, None, 1), (None, "x", 2), (3.0, None, 3)]
    pl.DataFrame({"a": [-999, 3], "b": ["-", "x"]}).write_parquet(tmp_path / "p")
    assert read(tmp_path / "p", (tmp_path / "p").read_bytes(), missing=["-", "-999"]).rows() == [(None, None), (3, "x")]


def test_blank_lines_and_a_line_that_names_the_separator_are_skipped(tmp_path: Path) -> None:
    for content in (
        b"\n \r\na|b\n1|2\n",
        b"sep=|\r\na|b\r\n1|2\r\n",
        b'\n"sep=|"\na|b\n1|2\n\n',
        b'a|b\n\n"1"|"2"\n\n \n',
    ):
        assert read(tmp_path / "t", content).to_dict(as_series=False) == {"a": [1], "b": [2]}
    assert read(tmp_path / "t", b"a\tb\n1\tx\n\t\n2\ty\n").rows() == [(1, "x"), (None, None), (2, "y")]


def test_blank_lines_between_texts_are_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (50,))
    for blank in (b"\n", b"  \n", b"\t\r\n"):
        content = b"a,b\n" + (b"x,y\n" * 20 + blank) * 5
        for columns in (["a", "b"], ["a"], ["b"]):
            assert read(tmp_path / "t", content, columns).height == 100


def test_unnamed_columns_are_named_as_by_pandas(tmp_path: Path) -> None:
    assert read(tmp_path / "t", b",a,\n1,2,3\n").columns == ["Unnamed: 0", "a", "Unnamed: 2"]
    assert read(tmp_path / "t", b", Unnamed: 0 ,a\n0,0,3\n").columns == ["Unnamed: 0.1", "Unnamed: 0", "a"]
    pl.DataFrame({"": [1], "a.*": [2]}).write_parquet(tmp_path / "p")
    assert read(tmp_path / "p", (tmp_path / "p").read_bytes()).to_dict(as_series=False) == {
        "Unnamed: 0": [1],
        "a.*": [2],
    }


def test_row_names_without_a_name_are_a_column_as_for_r(tmp_path: Path) -> None:
    cars = ["Mazda RX4", "Datsun 710", "Hornet 4 Drive", "Valiant", "Duster 360"]
    for separator in " \t;":
        lines = ["mpg,cyl", *(f'"{car}",22.8,4' for car in cars)]
        content = "\n".join(lines).replace(",", separator).encode()
        assert read(tmp_path / "t", content).rows() == [(car, 22.8, 4) for car in cars]
    assert read(tmp_path / "t", b'"a","b"\n"1",7,8\n"2",9,10\n').rows() == [(1, 7, 8), (2, 9, 10)]
    for content in (b"name,b\nSmith, John,7\nDoe, Jane,8\n", b"a;b\nx;1;2\nx;3;4\n", b"a,b\n1,2,\n2,3,\n"):
        with pytest.raises(DataError, match="row 1: 3 values, but the header has 2"):
            read(tmp_path / "t", content)


def test_quotes_within_texts_are_read_as_by_python(tmp_path: Path) -> None:
    content = b'a,b\n1,5" pipe\n2,6" pipe\n3,"x, ""y"""\n4,z\n'
    assert read(tmp_path / "t", content).rows() == [(1, '5" pipe'), (2, '6" pipe'), (3, 'x, "y"'), (4, "z")]
    assert read(tmp_path / "t", content, ["a"])["a"].to_list() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "description"),
    [
        (b"a,b\n1,2\n", "CSV separated by commas, in UTF-8"),
        ("a;b\n1,5;2\n".encode("utf-16"), "CSV separated by semicolons, with decimal commas, in UTF-16-LE"),
        (b"a b\r1   2\r", "CSV separated by spaces, with CR line ends, in UTF-8"),
    ],
)
def test_the_dialect_is_described(content: bytes, description: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    assert TableFile(tmp_path / "t", "t").description == description


@pytest.mark.parametrize(
    ("content", "width"),
    [
        (b"first name,last name\nAnna Maria,Ray Lee\nJo,Doe\n", 2),
        (b"place\tpopulation\nParis, France\t2\nRome, Italy\t3\n", 2),
        (b"title,genres,y\nHeat,Action|Crime,1\nUp,Comedy|Drama,2\n", 3),
        (b"when,y\n2020-01-01 10:00,1\n2020-01-02 11:00,2\n", 2),
        (b'18.0   8   307.0\t"chevrolet chevelle"\n15.0   8   350.0\t"buick skylark 320"\n', 4),
        (b" 0.00632  18.00   2.310  0\n 0.02731   0.00   7.070  0\n", 4),
        (b"only\n1\n2\n", 1),
        (b"only one column\n1\n2\n", 1),
    ],
)
def test_the_separator_is_the_one_that_explains_the_lines(content: bytes, width: int, tmp_path: Path) -> None:
    columns = () if content[:1].isalpha() else tuple(f"c{number}" for number in range(width))
    (tmp_path / "t").write_bytes(content)
    assert len(TableFile(tmp_path / "t", "t", Reading(columns=columns)).names) == width
