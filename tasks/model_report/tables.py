"""The tables of a report, as markdown."""

from collections.abc import Iterable, Iterator, Sequence
from math import floor, isfinite, log10

from tasks.data.profile_report import NAME_LENGTH, escaped
from tasks.evaluation.results import METRICS, Confusion, Evaluation, Improvement, Metric, MetricName, Slice
from tasks.model_report.context import ReportContext

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


MAX_CLASSES = 50
"""Classes that are listed; of more, those with most rows."""
MAX_SLICES = 50
_BESIDES: dict[str, tuple[MetricName, ...]] = {
    "regressor": ("r2", "mae"),
    "binary_classifier": ("precision", "recall"),
    "multiclass_classifier": ("accuracy", "balanced_accuracy"),
}
"""What is shown at the top, besides the metric that decides."""
_BASELINE = "The baseline is the best constant prediction for these very rows."


def metrics_table(evaluation: Evaluation) -> list[dict[str, str | float | None]]:
    """One row per metric, for a table artifact: rounded to five digits; None where a figure is not defined."""
    return [
        {
            "metric": METRICS[metric.name].title,
            "this model": _rounded(metric.value),
            "interval": _range(metric),
            "baseline": _rounded(metric.baseline),
            "champion": _rounded(metric.champion),
        }
        for metric in evaluation.metrics
    ]


def summary(evaluation: Evaluation) -> str:
    """What matters, in three to five rows: the metric that decides, how much error is gone, what people ask next."""
    besides = [name for name in _BESIDES[evaluation.predictor_type] if name != evaluation.gate_metric]
    shown = [metric for name in besides for metric in evaluation.metrics if metric.name == name]
    rows = [
        _metric(evaluation[evaluation.gate_metric], evaluation),
        *_improvements(evaluation),
        *(_metric(metric, evaluation) for metric in shown),
    ]
    return table(_header(evaluation), rows)


def quality(subject: ReportContext) -> str:
    """All that was measured."""
    evaluation = subject.evaluation
    intervals = f"Intervals: {100 * evaluation.confidence:g} % confidence, {evaluation.rounds:,} bootstrap samples."
    metrics = table(_header(evaluation), [_metric(metric, evaluation) for metric in evaluation.metrics])
    return paragraphs(
        f"On {counted('row', evaluation.rows)} the model was not trained on. {_BASELINE} {intervals}",
        _champion(subject),
        metrics,
        _residuals(subject),
        _classes(evaluation),
        _confusion(evaluation.classification.confusion) if evaluation.classification else "",
        _slices(subject),
    )


def _rounded(figure: float | None) -> float | None:
    return float(f"{figure:.5g}") if figure is not None and isfinite(figure) else None


def _range(metric: Metric) -> str:
    return interval(number(metric.low), number(metric.high))


def _header(evaluation: Evaluation) -> list[str]:
    champion = ["champion"] if _has_champion(evaluation) else []
    return ["", "this model", f"{100 * evaluation.confidence:g} % interval", "baseline", *champion]


def _has_champion(evaluation: Evaluation) -> bool:
    return any(metric.champion is not None for metric in evaluation.metrics)


def _metric(metric: Metric, evaluation: Evaluation) -> list[str]:
    facts = METRICS[metric.name]
    better = "higher" if facts.higher_is_better else "lower"
    title = f"**{facts.title}**, which decides" if metric.name == evaluation.gate_metric else facts.title
    figures = [number(metric.baseline), *([number(metric.champion)] if _has_champion(evaluation) else [])]
    return [f"{title} ({better} is better)", f"**{number(metric.value)}**", _range(metric), *figures]


def _improvements(evaluation: Evaluation) -> Iterator[list[str]]:
    pairs: dict[str, Improvement | None] = {
        "the baseline's": evaluation.over_baseline,
        "the champion's": evaluation.over_champion,
    }
    for whose, error_reduction in pairs.items():
        if error_reduction:
            span = interval(share(error_reduction.low), share(error_reduction.high))
            rest = [""] * (len(_header(evaluation)) - 3)
            yield [f"Share of {whose} error that is gone", f"**{share(error_reduction.value)}**", span, *rest]


def _champion(subject: ReportContext) -> str:
    objection = subject.evaluation.champion_objection
    if subject.champion is None and objection is None:
        return "There is no other champion to compare it with."
    said = [f"The champion is {named(subject.champion)}."] if subject.champion else []
    if objection:
        said.append(f"It cannot be compared on these rows: {escaped(objection)}")
    elif not subject.same_test_rows:
        said.append("It may have been trained on some of these rows, which would flatter it.")
    return " ".join(said)


def _residuals(subject: ReportContext) -> str:
    picture = subject.evaluation.regression
    if picture is None or not picture.residual_quantiles:
        return ""
    quantiles = sorted(picture.residual_quantiles.items())
    rows = [["residual at most", *(number(residual) for _, residual in quantiles)]]
    clipped = counted("row", picture.clipped_rows)
    return paragraphs(
        f"Residuals, actual - predicted, in the unit of {named(subject.target)}:",
        table(["share of rows", *(f"{100 * part:g} %" for part, _ in quantiles)], rows),
        f"Beyond the plots' edges, counted in their outermost cells: {clipped}." if picture.clipped_rows else "",
    )


def _classes(evaluation: Evaluation) -> str:
    if not evaluation.classes:
        return ""
    by_rows = sorted(evaluation.classes, key=lambda one: one.rows, reverse=True)[:MAX_CLASSES]
    shown = [
        [
            str(one.label),
            f"{one.rows:,}",
            *(number(value) for value in (one.precision, one.recall, one.f1, one.roc_auc)),
        ]
        for one in sorted(by_rows, key=lambda one: one.label)
    ]
    header = ["class", "rows", "precision", "recall", "F1", "ROC-AUC"]
    return paragraphs("Class by class:", table(header, shown), _more(len(evaluation.classes) - len(shown)))


def _confusion(confusion: Confusion | None) -> str:
    if confusion is None:
        return ""
    rows = [
        [str(label), *(f"**{count:,}**" if place == hit else f"{count:,}" for place, count in enumerate(counts))]
        for hit, (label, counts) in enumerate(zip(confusion.labels, confusion.counts, strict=True))
    ]
    header = ["actual", *map(str, confusion.labels)]
    return paragraphs("Rows by actual class, down, and predicted class, across; bold is right:", table(header, rows))


def _slices(subject: ReportContext) -> str:
    slices = subject.evaluation.slices
    if not slices:
        return ""
    gate = subject.evaluation.gate_metric
    names = [metric.name for metric in subject.evaluation.metrics if any(metric.name in one.metrics for one in slices)]
    ordered = [gate, *(name for name in names if name != gate)]
    first, *others = (METRICS[name].title for name in ordered)
    header = ["slice", "rows", first, f"baseline's {first}", *others]
    by = f", by {named(subject.slice_by)}" if subject.slice_by else ""
    return paragraphs(
        f"Slices{by}; in bold where the model is no better than the baseline:",
        table(header, [_slice(one, ordered, gate) for one in slices[:MAX_SLICES]]),
        _more(len(slices) - MAX_SLICES),
    )


def _slice(one: Slice, names: Sequence[MetricName], gate: MetricName) -> list[str]:
    value, baseline = one.metrics.get(gate), one.baseline.get(gate)
    sign = 1 if METRICS[gate].higher_is_better else -1
    worse = value is not None and baseline is not None and sign * (value - baseline) <= 0
    first, *others = (number(one.metrics.get(name)) for name in names)
    title = f"**{named(one.value)}**" if worse else named(one.value)
    return [title, f"{one.rows:,}", first, number(baseline), *others]


def _more(count: int) -> str:
    return f"and {count:,} more" if count > 0 else ""
