"""Columns are read like single cells: the same category texts, numbers and dates."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.cells import DATE_FORMATS, MONTHS, WHITESPACE, DateFormat, canonical, parse_date, parse_number
from linear_learner.errors import DataError
from tasks.data.cells import InvalidCellError, canonical_texts, parse_dates, to_numbers, to_seconds

NUMBERS_AS_TEXT = st.from_regex(r"[+-]?[0-9]{0,4}\.?[0-9]{0,4}(e[+-]?[0-9]{1,3})?", fullmatch=True)
ODD_TEXTS = st.one_of(
    st.text(max_size=8),
    NUMBERS_AS_TEXT,
    st.sampled_from(
        [
            *(
                "01",
                "1.0",
                "-0",
                "9007199254740993",
                "1e16",
                "1e-5",
                "inf",
                "-Infinity",
                "NaN",
                "+nan",
                "1_000",
                "1e999",
            ),
            *("\u0661", "TRUE", "False", "\u017f", "\u212a", "0x10", "1,5", " 1 ", "\x1c1", "\u20091\u2009", "a\x00"),
            *("true ", "1d", "."),
        ]
    ),
)
TEXTS = ODD_TEXTS.map(lambda text: text.encode("utf-8", "ignore").decode())
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1e15, 2.0**53, -(2.0**53), 1e16, 1e22, 0.1, 5e-324])
INTEGERS = st.integers(-(2**63), 2**63 - 1)
DATETIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))  # noqa: DTZ001 - both kinds are tested
COLUMNS = st.one_of(
    st.lists(st.none() | TEXTS).map(lambda cells: pl.Series(cells, dtype=pl.String)),
    st.lists(st.none() | FLOATS).map(lambda cells: pl.Series(cells, dtype=pl.Float64)),
    st.lists(st.none() | INTEGERS).map(lambda cells: pl.Series(cells, dtype=pl.Int64)),
    st.lists(st.none() | st.booleans()).map(lambda cells: pl.Series(cells, dtype=pl.Boolean)),
    st.lists(st.none() | st.dates()).map(lambda cells: pl.Series(cells, dtype=pl.Date)),
    st.lists(st.none() | DATETIMES).map(lambda cells: pl.Series(cells, dtype=pl.Datetime("us"))),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((one, "1") for one in ("01", "1", "1.0", " +1e0 ", 1, 1.0)),
        *((one, "true") for one in (True, "True", "TRUE")),
        *((one, None) for one in (None, float("nan"), "", "  ", "NaN")),
        ("0.50", "0.5"),
        (1e22, "1e+22"),
        ("Paris ", "Paris"),
        ("1,5", "1,5"),
        (10**400, "inf"),
        (date(2024, 1, 5), "2024-01-05"),
        (datetime(2024, 1, 5, 1, tzinfo=timezone(timedelta(hours=2))), "2024-01-04 23:00:00"),
    ],
)
def test_equal_values_have_one_canonical_text(value: Any, text: str | None) -> None:
    assert canonical(value) == text


def test_missing_markers_are_texts_and_numbers_however_they_are_written() -> None:
    assert canonical(" - ", ("-", "1")) is None
    assert canonical("-.", ("-", "1")) == "-."
    assert [canonical(cell, ("1",)) for cell in (1, 1.0, "1", "01", "1.00")] == [None] * 5


@given(COLUMNS)
def test_a_column_has_the_canonical_texts_of_its_cells(cells: pl.Series) -> None:
    assert canonical_texts(cells).to_list() == [canonical(cell) for cell in cells]


def test_the_same_characters_are_stripped_as_in_polars() -> None:
    characters = pl.Series([chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    assert "".join(characters.filter(characters.str.strip_chars() == "")) == WHITESPACE


@given(st.lists(st.none() | TEXTS, max_size=4))
def test_a_column_has_the_numbers_of_its_cells(texts: list[str | None]) -> None:
    cells = pl.Series("x", texts, dtype=pl.String)
    numbers = [_number(text) for text in texts]
    wrong = [index for index, number in enumerate(numbers) if number == "no number"]
    if not wrong:
        assert to_numbers(cells).to_list() == numbers
        return
    with pytest.raises(InvalidCellError, match="is not a number") as caught:
        to_numbers(cells)
    assert caught.value.index == wrong[0]
    error = caught.value.with_row(7)
    assert isinstance(error, DataError)
    assert str(error).startswith(f"row 7, column 'x': {texts[wrong[0]]!r:.60} ")


def _number(text: str | None) -> float | str | None:
    try:
        return None if canonical(text) is None else parse_number(text)
    except ValueError:
        return "no number"


CLOCK = r"[0-2]?[0-9]:[0-5][0-9](:[0-6][0-9]([.,][0-9]{1,9})?)?( ?[AaPp][Mm])?"
ZONE = r"( ?(Z|UTC|[+-][0-2][0-9](:?[0-6][0-9])?))?"
TIMES = st.just("") | st.builds(str.__add__, st.sampled_from(["T", " "]), st.from_regex(CLOCK + ZONE, fullmatch=True))


@st.composite
def date_texts(draw: st.DrawFn) -> str:
    """Texts that are dates in one of the formats, or nearly so."""
    year, month, day = draw(st.integers(0, 9999)), draw(st.integers(0, 13)), draw(st.integers(0, 32))
    name = draw(st.sampled_from([*MONTHS, "JAN", "September", "sept.", "Juni", "\u017fep"]))
    patterns = ["{0:04}-{1:02}-{2:02}", "{0}-{1}-{2}", "{2}.{1}.{0:04}", "{1}/{2}/{0:04}", "{2}.{1}.{4:02}"]
    patterns += ["{1}/{2}/{4:02}", "{3} {2}, {0:04}", "{3} {2} {0:04}", "{2}-{3}-{0:04}", "{2} {3} {4:02}"]
    pattern = draw(
        st.sampled_from([*patterns, "{0:04}-{1:02}", "{3} {0:04}", "{3}-{4:02}", "{1}/{0:04}", "{0:04}Q{1}"])
    )
    return f"{pattern.format(year, month, day, name, year % 100)}{draw(TIMES)}"


@given(st.lists(date_texts() | TEXTS, min_size=1, max_size=4), st.sampled_from(sorted(DATE_FORMATS)))
def test_a_column_has_the_dates_of_its_cells(texts: list[str], date_format: str) -> None:
    for text in texts:
        cells = pl.Series("when", [text], dtype=pl.String)
        expected = None
        try:
            if text.strip(WHITESPACE):
                expected = parse_date(text, date_format)
        except ValueError:
            with pytest.raises(InvalidCellError, match="is not a date like"):
                to_seconds(cells, date_format)
        else:
            assert to_seconds(cells, date_format).to_list() == [expected]


@given(st.lists(st.dates()), st.lists(DATETIMES), st.sampled_from(["ms", "us"]))
def test_dates_and_times_of_parquet_are_read_like_single_ones(
    dates: list[date], times: list[datetime], unit: Any
) -> None:
    assert to_seconds(pl.Series(dates, dtype=pl.Date), None).to_list() == [parse_date(one, None) for one in dates]
    for zone in (None, "UTC", "Asia/Kolkata"):
        cells = pl.Series(times, dtype=pl.Datetime(unit))
        cells = cells if zone is None else cells.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        assert to_seconds(cells, None).to_list() == [parse_date(one, None) for one in times]


@pytest.mark.parametrize(
    ("text", "date_format", "expected"),
    [
        ("2024-02-29", "%Y-%m-%d", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2024-02-29T23:30:15.999Z", "%Y-%m-%d", datetime(2024, 2, 29, 23, 30, 15, tzinfo=UTC)),
        ("2024-03-01 00:30+01:00", "%Y-%m-%d", datetime(2024, 2, 29, 23, 30, tzinfo=UTC)),
        ("1.2.2024", "%d.%m.%Y", datetime(2024, 2, 1, tzinfo=UTC)),
        ("12/31/1969 12:00:00 PM", "%m/%d/%Y", datetime(1969, 12, 31, 12, tzinfo=UTC)),
        ("31/12/1969 12:05 am", "%d/%m/%Y", datetime(1969, 12, 31, 0, 5, tzinfo=UTC)),
        ("12/31/69", "%m/%d/%y", datetime(1969, 12, 31, tzinfo=UTC)),
        ("31.12.68 10:00", "%d.%m.%y", datetime(2068, 12, 31, 10, tzinfo=UTC)),
        ("Jan 5, 2024", "%b %d %Y", datetime(2024, 1, 5, tzinfo=UTC)),
        ("september 30 2024 1:00 PM", "%b %d %Y", datetime(2024, 9, 30, 13, tzinfo=UTC)),
        ("5 Sept. 2024", "%d %b %Y", datetime(2024, 9, 5, tzinfo=UTC)),
        ("05-JUN-99", "%d %b %y", datetime(1999, 6, 5, tzinfo=UTC)),
        ("2024-02", "%Y-%m", datetime(2024, 2, 1, tzinfo=UTC)),
        ("2/2024", "%m/%Y", datetime(2024, 2, 1, tzinfo=UTC)),
        ("1974Q4", "%YQ%q", datetime(1974, 10, 1, tzinfo=UTC)),
        ("Feb 2024", "%b %Y", datetime(2024, 2, 1, tzinfo=UTC)),
        ("feb-24", "%b %y", datetime(2024, 2, 1, tzinfo=UTC)),
    ],
)
def test_dates_are_read_in_their_format(text: str, date_format: DateFormat, expected: datetime) -> None:
    assert parse_date(text, date_format) == expected.timestamp()
    assert parse_dates(pl.Series([text]), date_format).to_list() == [expected.timestamp()]


@pytest.mark.parametrize("text", ["2023-02-29", "0000-01-01", "2024-1-1 13:00 PM", "2024-01-01\n2", "24-01-01", "5"])
def test_texts_that_are_no_dates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date like %Y-%m-%d"):
        parse_date(text, None)
