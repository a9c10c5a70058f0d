"""Cells of a table as numbers, category texts and dates: how one value is read, without a library for tables.

`tasks.data.encoder` reads whole columns in the same way.
"""

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

WHITESPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Characters that are removed from both ends of a text: Unicode's property White_Space, as in polars."""
MAX_EXACT_INTEGER = 1 << 53
"""Below it, every integer has a float64 of its own."""
MAX_FLOAT32 = 3.4028234663852886e38  # the algorithm computes with float32

_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE)
_PLAIN_TYPES = {str, int, float, bool, type(None)}
_MISSING_TYPES = {"NAType", "NaTType"}  # of pandas, which is not imported
_BOOLEANS = {"true": True, "false": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
"""The first three letters of the names of the months, which are English."""
FIRST_SHORT_YEAR: Final = 69
"""Years of two digits are from 1969 to 2068, as for POSIX."""
_YEAR, _SHORT_YEAR = "(?P<year>[0-9]{4})", "(?P<short_year>[0-9]{2})"
_MONTH, _DAY = "(?P<month>0?[1-9]|1[0-2])", "(?P<day>0?[1-9]|[12][0-9]|3[01])"
_NAME = (
    r"(?P<name>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))\.?"
)
_TIME = (
    "(?:[T ](?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9])(?:[.,][0-9]{1,9})?)?"
    "(?: ?(?P<half>[AaPp])[Mm])?"
    "(?: ?(?:Z|UTC|(?P<sign>[+-])(?P<zone_hour>[01][0-9]|2[0-3])(?::?(?P<zone_minute>[0-5][0-9]))?))?)?"
)
DateFormat = Literal[
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y",
    "%b %d %Y", "%d %b %Y", "%d %b %y", "%Y-%m", "%m/%Y", "%b %Y", "%b %y", "%YQ%q",
]  # fmt: skip
ISO_DATE: Final = "%Y-%m-%d"
DATE_FORMATS: dict[DateFormat, str] = {
    "%Y-%m-%d": f"{_YEAR}-{_MONTH}-{_DAY}{_TIME}",
    "%Y/%m/%d": f"{_YEAR}/{_MONTH}/{_DAY}{_TIME}",
    "%d.%m.%Y": rf"{_DAY}\.{_MONTH}\.{_YEAR}{_TIME}",
    "%m/%d/%Y": f"{_MONTH}/{_DAY}/{_YEAR}{_TIME}",
    "%d/%m/%Y": f"{_DAY}/{_MONTH}/{_YEAR}{_TIME}",
    "%d.%m.%y": rf"{_DAY}\.{_MONTH}\.{_SHORT_YEAR}{_TIME}",
    "%m/%d/%y": f"{_MONTH}/{_DAY}/{_SHORT_YEAR}{_TIME}",
    "%d/%m/%y": f"{_DAY}/{_MONTH}/{_SHORT_YEAR}{_TIME}",
    "%b %d %Y": f"{_NAME} {_DAY},? {_YEAR}{_TIME}",
    "%d %b %Y": f"{_DAY}[ -]{_NAME}[ -]{_YEAR}{_TIME}",
    "%d %b %y": f"{_DAY}[ -]{_NAME}[ -]{_SHORT_YEAR}{_TIME}",
    "%Y-%m": f"{_YEAR}-{_MONTH}",
    "%m/%Y": f"{_MONTH}/{_YEAR}",
    "%b %Y": f"{_NAME}[ -]{_YEAR}",
    "%b %y": f"{_NAME}-{_SHORT_YEAR}",
    "%YQ%q": f"{_YEAR}[ -]?Q(?P<quarter>[1-4])",
}
"""The formats of dates by name, with a pattern that must match the whole stripped text.

The patterns are valid for Python and for polars (Rust); the date must exist, and the year is from 1. `%b` is the name
of a month, also in full and in any case, and `%q` a quarter; without a day, a month or quarter means its first day. A
time may follow a day: `T` or a space, hours and minutes, optionally seconds with a fraction, which is ignored, AM or PM
(then the hour is from 1 to 12), and a zone (`Z`, `UTC`, `+01`, `+0100`, `+01:00`). Without a zone, a time is in UTC.
"""


def canonical(value: Any, missing_values: Collection[str] = ()) -> str | None:
    """The text that names a value as a category; None if the cell is missing.

    Texts are stripped. Numbers, and texts that are numbers, are those of float64 in their shortest form without a
    trailing `.0`, so that `01`, `1`, `1.0` and 1 are the same category; booleans, and such texts in upper or lower
    case, are `true` and `false`. Times are in UTC. None, NaN, an empty text and the `missing_values` are missing, as is
    a value whose canonical text is one of these, however it is written.
    """
    value = _plain(value)
    if value is None:
        return None
    if not isinstance(value, str):
        number = _other_text(value)
        return None if number in missing_values else number
    text = value.strip(WHITESPACE)
    if not text or text in missing_values:
        return None
    found = _canonical_text(text)
    return None if found in missing_values else found


def parse_number(value: Any) -> float:
    """The number of a cell that is not missing; booleans are 1 and 0. Raises ValueError for anything else."""
    value = _plain(value)
    if isinstance(value, int | float):
        return _to_float(value)
    if isinstance(value, str):
        text = value.strip(WHITESPACE)
        if _NUMBER.fullmatch(text):
            return float(text)
        if text.lower() in _BOOLEANS:
            return float(_BOOLEANS[text.lower()])
    raise ValueError(f"{describe(value)} is not a number")


def parse_date(value: Any, date_format: DateFormat | None) -> int:
    """The seconds since 1970 in UTC, rounded down, of a date or time, or of a text; ValueError for anything else.

    `date_format` is a name out of DATE_FORMATS; without one, texts are in ISO 8601.
    """
    value = _plain(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _SECOND
    if isinstance(value, date):
        return (value - _EPOCH.date()).days * 86_400
    date_format = date_format or ISO_DATE
    seconds = _parse_date_text(value.strip(WHITESPACE), date_format) if isinstance(value, str) else None
    if seconds is None:
        raise ValueError(f"{describe(value)} is not a date like {date_format}")
    return seconds


def describe(value: Any) -> str:
    """A value for a message, at most about 60 characters."""
    value = _plain(value)
    return f"{value!r:.60}" if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """The value as None or in Python's own type: of numpy's scalars, pandas' missing ones, decimals and durations.

    Durations and times of the day are seconds, as in training.
    """
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return value
    if kind.__name__ in _MISSING_TYPES:
        return None
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        is_time = value.dtype.kind in "mM"
        plain = value.item()
        # Python has no nanoseconds, and numpy returns a number for them.
        return _plain(value.astype(f"{value.dtype.kind}8[us]").item() if is_time and isinstance(plain, int) else plain)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, time):
        value = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
    return value.total_seconds() if isinstance(value, timedelta) else value


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond float64, which is infinite as a text, too
        return float("inf") if value > 0 else float("-inf")


def _other_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number_text(_to_float(value))
    return _date_text(value) if isinstance(value, date) else str(value)


def _canonical_text(text: str) -> str | None:
    if _NUMBER.fullmatch(text):
        return _number_text(float(text))
    lower = text.lower()
    return lower if lower in _BOOLEANS else text


def _number_text(value: float) -> str | None:
    if value != value:  # noqa: PLR0124 - NaN
        return None
    if abs(value) < MAX_EXACT_INTEGER and value.is_integer():
        return str(int(value))
    return repr(value).removesuffix(".0")


def _date_text(value: date) -> str:
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat(sep=" ")


def _parse_date_text(text: str, date_format: DateFormat) -> int | None:
    match = re.fullmatch(DATE_FORMATS[date_format], text)
    if match is None:
        return None
    found = {name: part for name, part in match.groupdict().items() if part}
    number = {name: int(part) for name, part in found.items() if part.isdecimal()}
    if "short_year" in number:
        number["year"] = number["short_year"] + (1900 if number["short_year"] >= FIRST_SHORT_YEAR else 2000)
    if "name" in found:
        name = found["name"][:3].lower()
        number["month"] = MONTHS.index(name) + 1 if name in MONTHS else 0  # the pattern also matches a long s
    if "quarter" in number:
        number["month"] = 3 * number["quarter"] - 2
    try:
        days = (date(number["year"], number["month"], number.get("day", 1)) - _EPOCH.date()).days
    except ValueError:  # such as 30 February
        return None
    hour, half = number.get("hour", 0), found.get("half", "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half == "p")
    offset = number.get("zone_hour", 0) * 3600 + number.get("zone_minute", 0) * 60
    seconds = days * 86_400 + hour * 3600 + number.get("minute", 0) * 60 + number.get("second", 0)
    return seconds + offset if found.get("sign") == "-" else seconds - offset
