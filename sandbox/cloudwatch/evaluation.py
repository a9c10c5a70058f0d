"""The evaluation of an alarm, as CloudWatch's documentation describes it; the wordings of reasons are CloudWatch's."""

import operator
from collections.abc import Callable, Mapping, Sequence

COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


def evaluate(  # noqa: PLR0913, PLR0917 - an alarm has this many settings
    values: Sequence[float | None], comparison: str, threshold: float, needed: int, missing: str, state: str
) -> tuple[str, str]:
    """The state of an alarm and its reason, from the values of its last periods; None is a period without data.

    `needed` periods that breach the threshold make an ALARM; `missing` is TreatMissingData and `state` the state so
    far, which remains where the data do not decide and missing data are ignored.
    """
    compare, words = COMPARISONS[comparison]
    present = [value for value in values if value is not None]
    breaching = sum(compare(value, threshold) for value in present)
    absent = len(values) - len(present)
    if missing == "breaching":
        alarm = breaching + absent >= needed
    elif missing == "notBreaching":
        alarm = breaching >= needed
    elif missing == "ignore":
        if breaching < needed <= breaching + absent:
            return state, f"no datapoints were received for {absent} periods and missing data are ignored."
        alarm = breaching >= needed
    elif not present:
        text = "period" if len(values) == 1 else "periods"
        return "INSUFFICIENT_DATA", f"Insufficient Data: {len(values)} {text} had no data."
    else:
        alarm = breaching >= min(needed, len(present))
    shown = ", ".join(f"{value:.6g}" for value in present) or "no datapoints were received"
    relation = words if alarm else f"not {words}"
    count = f"{breaching if alarm else len(present) - breaching} out of the last {len(values)} datapoints"
    text = f"Threshold Crossed: {count} [{shown}] were {relation} the threshold ({threshold:g}); {absent} were missing."
    return "ALARM" if alarm else "OK", text
