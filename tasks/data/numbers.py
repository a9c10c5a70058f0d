"""Format numbers for reports and messages."""

from math import floor, isfinite, log10

NO_VALUE = "\N{EN DASH}"


def format_number(figure: float | None, digits: int = 4) -> str:
    """Format with `digits` significant digits; large whole numbers in full: 0.9134, 12.35, 1,234,567."""
    if figure is None or not isfinite(figure):
        return NO_VALUE
    size = floor(log10(abs(figure))) if figure else 0
    if not -5 < size < 12:
        return f"{figure:.{digits - 1}e}"
    whole = float(figure).is_integer() and size >= digits - 1
    return f"{figure:,.{0 if whole or not figure else max(0, digits - 1 - size)}f}"


def format_share(figure: float | None) -> str:
    """Format a share from 0 to 1 in per cent."""
    return NO_VALUE if figure is None or not isfinite(figure) else f"{format_number(100 * figure, 3)} %"


def format_change(reduction: float, less: str = "less", more: str = "more") -> str:
    """`82.7 % less` for a reduction by the share 0.827, `364 % more` for one by -3.64."""
    size = "over 1000" if abs(reduction) > 10 else format_number(100 * abs(reduction), 3)
    return f"{size} % {more if reduction < 0 else less}"


def format_count(what: str, count: int) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
