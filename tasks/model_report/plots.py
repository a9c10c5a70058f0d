"""The plots of a report."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_learner.logs.training_summary import EpochPoint, TrainingSummary
from tasks.evaluation.results import ClassCurves, Confusion, Curve, Density, Evaluation, Histogram
from tasks.model_report.context import Effect, ReportContext, effects
from tasks.model_report.style import (
    BLUE,
    CARD,
    GREEN,
    GREY,
    INK,
    ORANGE,
    Style,
    axes,
    colormap,
    legend,
    new_figure,
    plain,
    png,
    set_labels,
    square_card,
    styles,
    thousands,
)
from tasks.model_report.tables import counted, number, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MAX_BARS = 10
_FEW_EPOCHS = 30


def draw(subject: ReportContext) -> dict[str, bytes]:
    """PNGs, 1280 pixels wide, by the names that the markdown's CAPTIONS explain; only of what there is to show."""
    return {
        **_learning_curve(subject.summary),
        **regression_plots(subject.evaluation, subject.target),
        **classification_plots(subject.evaluation),
        **_effects(subject),
    }


def data_urls(plots: Mapping[str, bytes]) -> dict[str, str]:
    """The plots as markdown carries them."""
    return {name: f"data:image/png;base64,{b64encode(plot).decode()}" for name, plot in plots.items()}


def _learning_curve(summary: TrainingSummary | None) -> dict[str, bytes]:
    lines = dict(_lines(summary)) if summary else {}
    if summary is None or not lines:
        return {}
    # Of a regression each loss has its own scale: training is told in units of the normalised label.
    apart = len(lines) > 1 and not (summary.objective or "").endswith("cross_entropy")
    figure = new_figure(4.6 if apart else 3.6)
    groups = [{name: line} for name, line in lines.items()] if apart else [lines]
    for place, group in enumerate(groups, start=1):
        drawn = axes(figure, place, len(groups))
        _losses(drawn, group, summary)
        whose = f"{next(iter(group))} " if apart else ""
        below = "epoch" if place == len(groups) else ""
        set_labels(figure, drawn, _title(summary), below, whose + plain(summary.objective or "loss"))
    return {"learning-curve": png(figure)}


def _lines(summary: TrainingSummary) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    for name in ("validation", "train"):
        known = [(point.index, loss) for point in summary.curve if (loss := _loss(point, name)) is not None]
        if known:
            yield name, known


def _loss(point: EpochPoint, name: str) -> float | None:
    return point.validation if name == "validation" else point.train


def _losses(drawn: "Axes", lines: Mapping[str, Sequence[tuple[int, float]]], summary: TrainingSummary) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    looks = {"validation": (BLUE, "-"), "train": (ORANGE, "--")}
    for name, points in lines.items():
        color, dashes = looks[name]
        marker = "o" if len(points) <= _FEW_EPOCHS else ""
        drawn.plot(
            *zip(*points, strict=True),
            color=color,
            linestyle=dashes,
            linewidth=1.8,
            marker=marker,
            markersize=3.5,
            label=name,
        )
    if summary.saved_epoch is not None:
        drawn.axvline(summary.saved_epoch, color=GREEN, linewidth=1.2, linestyle=":", label="note")
    losses = [loss for points in lines.values() for _, loss in points]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        drawn.set_yscale("log")
        drawn.yaxis.set_minor_formatter(NullFormatter())
    thousands(drawn.yaxis)
    drawn.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(drawn)


def _title(summary: TrainingSummary) -> str:
    last = max(point.index for point in summary.curve)
    how = "Stopped early after" if summary.stopped_early else "Ran to its last"
    note = "" if summary.saved_epoch is None else f"; epoch {summary.saved_epoch} was kept"
    return f"{how} epoch {last}{note}"


def _effects(subject: ReportContext) -> dict[str, bytes]:
    known = [one for one in effects(subject)[:MAX_BARS] if one.largest >= 0]
    if not known:
        return {}
    figure = new_figure(1.3 + 0.3 * len(known))
    drawn = axes(figure)
    first = plain(known[0].feature, 36)
    set_labels(figure, drawn, f"{first} decides most", f"effect of one standard deviation on {_output(subject)}", "")
    _bars(drawn, known, several=subject.model.weights.shape[1] > 1)
    return {"effects": png(figure)}


def _bars(drawn: "Axes", shown: Sequence[Effect], *, several: bool) -> None:
    sizes = [one.sizes[one.strongest] for one in shown if one.sizes]
    names = [plain(one.feature, 30) + (f" (class {one.strongest})" if several else "") for one in shown]
    colors = [BLUE if size >= 0 else ORANGE for size in sizes]
    bars = drawn.barh(range(len(sizes)), sizes, color=colors, height=0.7)
    drawn.bar_label(bars, [number(size, 3) for size in sizes], padding=3, fontsize=8, color=INK)
    drawn.set_yticks(range(len(sizes)), names)
    drawn.invert_yaxis()
    drawn.margins(x=0.15)
    thousands(drawn.xaxis)
    drawn.axvline(0, color=GREY, linewidth=1)


def _output(subject: ReportContext) -> str:
    if subject.model.predictor_type == "regressor":
        return plain(subject.target, 30)
    if subject.model.predictor_type == "multiclass_classifier":
        return "the class's score"
    return "the log-odds of label 1" if subject.model.has_sigmoid else "the distance from the plane"


def regression_plots(evaluation: Evaluation, target: str) -> dict[str, bytes]:
    """PNGs by name; none for an evaluation of a classifier."""
    picture = evaluation.regression
    if picture is None:
        return {}
    return {
        "predicted-and-actual": _predicted(evaluation, picture.density, plain(target)),
        "residuals": _residuals(picture.residuals, picture.residual_quantiles, plain(target)),
    }


def _predicted(evaluation: Evaluation, density: Density, target: str) -> bytes:
    figure = new_figure(5.0)
    drawn = axes(figure)
    typical = evaluation.value("median_error")
    title = (
        "Predicted and actual values" if typical is None else f"Half of the rows are off by at most {number(typical)}"
    )
    set_labels(figure, drawn, title, f"actual {target}", f"predicted {target}")
    _image(drawn, density)
    ends = density.edges[0], density.edges[-1]
    drawn.plot(ends, ends, color=ORANGE, linewidth=1.2, linestyle="--", label="predicted = actual")
    drawn.set(xlim=ends, ylim=ends, aspect="equal")
    thousands(drawn.xaxis)
    thousands(drawn.yaxis)
    legend(drawn)
    return png(figure)


def _image(drawn: "Axes", density: Density) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter

    counts = np.array(density.counts, np.float64).T
    shown = np.ma.masked_equal(counts, 0)
    norm = LogNorm(0.4, max(2.0, counts.max()))  # a single row is to be seen, too
    image = drawn.pcolormesh(density.edges, density.edges, shown, cmap=colormap(), norm=norm)
    bar = drawn.figure.colorbar(image, ax=drawn, format=FuncFormatter(lambda rows, _: f"{rows:,.0f}"), shrink=0.8)
    bar.ax.set_ylim(bottom=1)
    bar.set_label("rows per cell", color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, labelcolor=INK)


def _residuals(residuals: Histogram, quantiles: dict[float, float], target: str) -> bytes:
    figure = new_figure(3.4)
    drawn = axes(figure)
    low, high = quantiles.get(0.05), quantiles.get(0.95)
    known = low is not None and high is not None
    title = f"90 % of the residuals are between {number(low)} and {number(high)}" if known else "Residuals"
    set_labels(figure, drawn, title, f"actual - predicted {target}", "rows")
    thousands(drawn.xaxis)
    thousands(drawn.yaxis)
    drawn.stairs(residuals.counts, residuals.edges, fill=True, color=BLUE, alpha=0.75)
    drawn.axvline(0, color=INK, linewidth=1, label="predicted = actual")
    if low is not None and high is not None:
        drawn.axvline(low, color=ORANGE, linewidth=1.2, linestyle="--", label="90 % of the rows")
        drawn.axvline(high, color=ORANGE, linewidth=1.2, linestyle="--")
    legend(drawn)
    return png(figure)


MAX_CELL_COUNTS = 10
"""Classes up to which the confusion matrix has room for numbers."""


class Point(NamedTuple):
    """What a binary classifier does at its threshold."""

    false_positive_rate: float
    recall: float
    precision: float


def classification_plots(evaluation: Evaluation) -> dict[str, bytes]:
    """PNGs by name; only of what the evaluation has, none for that of a regressor."""
    picture = evaluation.classification
    if picture is None:
        return {}
    plots = {}
    if picture.curves:
        plots["roc"] = _roc(evaluation, picture.curves)
        plots["precision-recall"] = _precision_recall(evaluation, picture.curves)
    if picture.calibration is not None:
        plots["calibration"] = _calibration(evaluation, picture.calibration)
    if picture.confusion is not None and len(picture.confusion.labels) > 2:
        plots["confusion"] = _confusion(picture.confusion)
    return plots


def _roc(evaluation: Evaluation, curves: tuple[ClassCurves, ...]) -> bytes:
    figure, drawn = square_card()
    set_labels(figure, drawn, _roc_title(evaluation), "false positive rate", "true positive rate")
    drawn.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
    for one, style in zip(curves, styles(len(curves)), strict=True):
        _line(drawn, one.roc, style, f"{_class(evaluation, one.label)}AUC {number(_area(evaluation, one.label))}")
    point = _operating_point(evaluation)
    if point:
        _mark(drawn, point.false_positive_rate, point.recall)
    legend(drawn, _heading(evaluation), beside=True)
    return png(figure)


def _precision_recall(evaluation: Evaluation, curves: tuple[ClassCurves, ...]) -> bytes:
    figure, drawn = square_card()
    set_labels(figure, drawn, _precision_title(evaluation), "recall", "precision")
    for one, style in zip(curves, styles(len(curves)), strict=True):
        rate = _base_rate(evaluation, one.label)
        if _is_binary(evaluation) and rate is not None:
            drawn.axhline(rate, color=GREY, linewidth=1, linestyle=":", label=f"chance: {share(rate)}")
        said = f"PR-AUC {number(evaluation.value('pr_auc'))}" if _is_binary(evaluation) else f"{share(rate)} of rows"
        _line(drawn, one.precision_recall, style, f"{_class(evaluation, one.label)}{said}")
    point = _operating_point(evaluation)
    if point:
        _mark(drawn, point.recall, point.precision)
    legend(drawn, _heading(evaluation), beside=True)
    return png(figure)


def _calibration(evaluation: Evaluation, curve: Curve) -> bytes:
    figure, drawn = square_card()
    off = float(np.mean(np.abs(np.subtract(curve.x, curve.y)))) if curve.x else None
    what = ("label 1", "rows that are 1") if _is_binary(evaluation) else ("the predicted class", "rows that are right")
    title = f"Probabilities are off by {share(off)} on average"
    set_labels(figure, drawn, title, f"mean probability of {what[0]}, per tenth of the rows", f"share of {what[1]}")
    drawn.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="taken at their word")
    drawn.plot(curve.x, curve.y, color=BLUE, linewidth=1.8, marker="o", markersize=5, label="this model")
    legend(drawn, beside=True)
    return png(figure)


def _confusion(confusion: Confusion) -> bytes:
    from matplotlib.colors import PowerNorm

    figure = new_figure(5.2)
    drawn = axes(figure)
    counts = np.array(confusion.counts, np.float64)
    of_actual = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    set_labels(figure, drawn, _confusion_title(confusion, counts), "predicted class", "actual class")
    image = drawn.imshow(of_actual, cmap=colormap(), norm=PowerNorm(0.5, 0, 1))  # rare mistakes are to be seen, too
    places = range(len(confusion.labels))
    drawn.set_xticks(places, [str(label) for label in confusion.labels])
    drawn.set_yticks(places, [str(label) for label in confusion.labels])
    drawn.grid(visible=False)
    bar = figure.colorbar(image, ax=drawn, shrink=0.8)
    bar.set_label("share of the actual class", color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, labelcolor=INK)
    if len(places) <= MAX_CELL_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            ink = CARD if of_actual[row, column] > 0.3 else INK
            drawn.text(column, row, f"{count:,.0f}", ha="center", va="center", fontsize=8, color=ink)
    return png(figure)


def _line(drawn: "Axes", curve: Curve, style: Style, said: str) -> None:
    [line] = drawn.plot(curve.x, curve.y, color=style.color, linestyle=style.linestyle, linewidth=1.8, label=said)
    line.set(marker=style.marker, markersize=4, markevery=0.11)


def _mark(drawn: "Axes", across: float, up: float) -> None:
    said = "at the threshold"
    drawn.plot(
        [across], [up], color=ORANGE, marker="D", markersize=7, markeredgecolor=CARD, linestyle="none", label=said
    )


def _roc_title(evaluation: Evaluation) -> str:
    area = evaluation.value("roc_auc")
    if area is None:
        return "ROC curve"
    if _is_binary(evaluation):
        return f"A row with label 1 scores above one with 0 in {share(area)} of pairs"
    known = {one.label: one.roc_auc for one in evaluation.classes if one.roc_auc is not None}
    hardest = f", lowest {number(min(known.values()))} for class {min(known, key=known.__getitem__)}" if known else ""
    return f"ROC-AUC {number(area)} on average over classes{hardest}"


def _precision_title(evaluation: Evaluation) -> str:
    precision, recall = (evaluation.value(name) for name in ("precision", "recall"))
    if not _is_binary(evaluation) or precision is None or recall is None:
        return f"PR-AUC {number(evaluation.value('pr_auc'))} on average over classes"
    return f"Of all 1s it finds {share(recall)}, of those it finds {share(precision)} are right"


def _confusion_title(confusion: Confusion, counts: NDArray[np.float64]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return "No mistakes"
    actual, predicted = divmod(int(wrong.argmax()), len(confusion.labels))
    taken = f"class {confusion.labels[actual]} taken for {confusion.labels[predicted]}"
    return f"Most frequent mistake: {taken}, {counted('row', int(wrong.max()))}"


def _operating_point(evaluation: Evaluation) -> Point | None:
    """None for a multiclass, and where one of the three is not defined."""
    confusion = evaluation.classification.confusion if evaluation.classification else None
    if not _is_binary(evaluation) or confusion is None or confusion.labels != (0, 1):
        return None
    (negative, false_positive), (missed, hit) = confusion.counts
    if not (negative + false_positive and missed + hit and hit + false_positive):
        return None
    false_positive_rate = false_positive / (negative + false_positive)
    return Point(false_positive_rate, hit / (missed + hit), hit / (hit + false_positive))


def _base_rate(evaluation: Evaluation, label: int) -> float | None:
    rows = next((one.rows for one in evaluation.classes if one.label == label), None)
    return rows / evaluation.rows if rows is not None and evaluation.rows else None


def _area(evaluation: Evaluation, label: int) -> float | None:
    if _is_binary(evaluation):
        return evaluation.value("roc_auc")
    return next((one.roc_auc for one in evaluation.classes if one.label == label), None)


def _class(evaluation: Evaluation, label: int) -> str:
    return "" if _is_binary(evaluation) else f"{label}: "


def _heading(evaluation: Evaluation) -> str | None:
    return None if _is_binary(evaluation) else "class"


def _is_binary(evaluation: Evaluation) -> bool:
    return evaluation.predictor_type == "binary_classifier"
