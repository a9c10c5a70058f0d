"""How figures, names and tables are written for people, in markdown."""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10

from tasks.check_report import NAME_LENGTH, escaped

NOTHING = "\N{EN DASH}"
"""What stands where there is no figure."""


def number(figure: float | None, digits: int = 4) -> str:
    """A figure with so many significant digits, or NOTHING; whole ones are kept: 0.9134, 12.35, 1,234,567."""
    if figure is None or not isfinite(figure):
        return NOTHING
    size = floor(log10(abs(figure))) if figure else 0
    if not -5 < size < 12:
        return f"{figure:.{digits - 1}e}"
    whole = float(figure).is_integer() and size >= digits - 1
    return f"{figure:,.{0 if whole or not figure else max(0, digits - 1 - size)}f}"


def share(figure: float | None) -> str:
    """A share of one, in per cent."""
    return NOTHING if figure is None or not isfinite(figure) else f"{number(100 * figure, 3)} %"


def interval(low: str, high: str) -> str:
    """From the lower to the upper end, both as written."""
    return NOTHING if NOTHING in {low, high} else f"{low} to {high}"


def named(name: str) -> str:
    """A name of somebody's choosing: one line without markup, cut where it is very long."""
    return escaped(name if len(name) <= NAME_LENGTH else name[:NAME_LENGTH] + "…") or "(no name)"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns hold words, on the left, and all others figures, on the right."""
    rule = ["---" if place < words else "---:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def paragraphs(*parts: str) -> str:
    """Those that say something, one after the other."""
    return "\n\n".join(part for part in parts if part)


def counted(what: str, count: int) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
