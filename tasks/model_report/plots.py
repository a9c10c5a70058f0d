"""The plots of a report."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_learner.logs.training_summary import EpochPoint, TrainingSummary
from tasks.evaluation.results import ClassCurves, Confusion, Curve, Density, Evaluation, Histogram
from tasks.model_report.context import Effect, ReportContext, compute_effects
from tasks.model_report.style import (
    BACKGROUND,
    BLUE,
    FOREGROUND,
    GREEN,
    GREY,
    ORANGE,
    LineStyle,
    add_axes,
    add_legend,
    colormap,
    format_count,
    format_number,
    format_share,
    format_thousands,
    line_styles,
    new_figure,
    new_square_figure,
    plain_text,
    set_labels,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MAX_BARS = 10
_MAX_MARKED_EPOCHS = 30


def draw_plots(context: ReportContext) -> dict[str, bytes]:
    """PNGs, 1280 pixels wide, by the names that the markdown's CAPTIONS explain; only of what there is to show."""
    return {
        **_learning_curve(context.summary),
        **regression_plots(context.evaluation, context.target),
        **classification_plots(context.evaluation),
        **_effects(context),
    }


def to_data_urls(plots: Mapping[str, bytes]) -> dict[str, str]:
    """The plots as markdown carries them."""
    return {name: f"data:image/png;base64,{b64encode(plot).decode()}" for name, plot in plots.items()}


def _learning_curve(summary: TrainingSummary | None) -> dict[str, bytes]:
    lines = dict(_loss_lines(summary)) if summary else {}
    if summary is None or not lines:
        return {}
    # Of a regression each loss has its own scale: it is reported in units of the normalised label.
    apart = len(lines) > 1 and not (summary.objective or "").endswith("cross_entropy")
    figure = new_figure(4.6 if apart else 3.6)
    groups = [{name: line} for name, line in lines.items()] if apart else [lines]
    for place, group in enumerate(groups, start=1):
        axes = add_axes(figure, place, len(groups))
        _plot_losses(axes, group, summary)
        whose = f"{next(iter(group))} " if apart else ""
        below = "epoch" if place == len(groups) else ""
        set_labels(figure, axes, _learning_curve_title(summary), below, whose + plain_text(summary.objective or "loss"))
    return {"learning-curve": to_png(figure)}


def _loss_lines(summary: TrainingSummary) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    for name in ("validation", "train"):
        known = [(point.index, loss) for point in summary.curve if (loss := _select_loss(point, name)) is not None]
        if known:
            yield name, known


def _select_loss(point: EpochPoint, name: str) -> float | None:
    return point.validation if name == "validation" else point.train


def _plot_losses(axes: "Axes", lines: Mapping[str, Sequence[tuple[int, float]]], summary: TrainingSummary) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    looks = {"validation": (BLUE, "-"), "train": (ORANGE, "--")}
    for name, points in lines.items():
        color, dashes = looks[name]
        marker = "o" if len(points) <= _MAX_MARKED_EPOCHS else ""
        axes.plot(
            *zip(*points, strict=True),
            color=color,
            linestyle=dashes,
            linewidth=1.8,
            marker=marker,
            markersize=3.5,
            label=name,
        )
    if summary.saved_epoch is not None:
        axes.axvline(summary.saved_epoch, color=GREEN, linewidth=1.2, linestyle=":", label="kept")
    losses = [loss for points in lines.values() for _, loss in points]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    format_thousands(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes)


def _learning_curve_title(summary: TrainingSummary) -> str:
    last = max(point.index for point in summary.curve)
    how = "Stopped early after" if summary.stopped_early else "Ran to its last"
    note = "" if summary.saved_epoch is None else f"; epoch {summary.saved_epoch} was kept"
    return f"{how} epoch {last}{note}"


def _effects(context: ReportContext) -> dict[str, bytes]:
    known = [one for one in compute_effects(context)[:MAX_BARS] if one.largest >= 0]
    if not known:
        return {}
    figure = new_figure(1.3 + 0.3 * len(known))
    axes = add_axes(figure)
    first = plain_text(known[0].feature, 36)
    set_labels(figure, axes, f"{first} decides most", f"effect of one standard deviation on {_output(context)}", "")
    _plot_bars(axes, known, several=context.model.weights.shape[1] > 1)
    return {"effects": to_png(figure)}


def _plot_bars(axes: "Axes", shown: Sequence[Effect], *, several: bool) -> None:
    sizes = [one.sizes[one.strongest] for one in shown if one.sizes]
    names = [plain_text(one.feature, 30) + (f" (class {one.strongest})" if several else "") for one in shown]
    colors = [BLUE if size >= 0 else ORANGE for size in sizes]
    bars = axes.barh(range(len(sizes)), sizes, color=colors, height=0.7)
    axes.bar_label(bars, [format_number(size, 3) for size in sizes], padding=3, fontsize=8, color=FOREGROUND)
    axes.set_yticks(range(len(sizes)), names)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    format_thousands(axes.xaxis)
    axes.axvline(0, color=GREY, linewidth=1)


def _output(context: ReportContext) -> str:
    if context.model.predictor_type == "regressor":
        return plain_text(context.target, 30)
    if context.model.predictor_type == "multiclass_classifier":
        return "the class's score"
    return "the log-odds of label 1" if context.model.has_sigmoid else "the distance from the plane"


def regression_plots(evaluation: Evaluation, target: str) -> dict[str, bytes]:
    """PNGs by name; none for an evaluation of a classifier."""
    plot_data = evaluation.regression
    if plot_data is None:
        return {}
    return {
        "predicted-and-actual": _predicted_and_actual(evaluation, plot_data.density, plain_text(target)),
        "residuals": _residuals(plot_data.residuals, plot_data.residual_quantiles, plain_text(target)),
    }


def _predicted_and_actual(evaluation: Evaluation, density: Density, target: str) -> bytes:
    figure = new_figure(5.0)
    axes = add_axes(figure)
    typical = evaluation.value("median_error")
    title = (
        "Predicted and actual values"
        if typical is None
        else f"Half of the rows are off by at most {format_number(typical)}"
    )
    set_labels(figure, axes, title, f"actual {target}", f"predicted {target}")
    _plot_density(axes, density)
    ends = density.edges[0], density.edges[-1]
    axes.plot(ends, ends, color=ORANGE, linewidth=1.2, linestyle="--", label="predicted = actual")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    format_thousands(axes.xaxis)
    format_thousands(axes.yaxis)
    add_legend(axes)
    return to_png(figure)


def _plot_density(axes: "Axes", density: Density) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter

    counts = np.array(density.counts, np.float64).T
    shown = np.ma.masked_equal(counts, 0)
    norm = LogNorm(0.4, max(2.0, counts.max()))  # a single row is to be seen, too
    image = axes.pcolormesh(density.edges, density.edges, shown, cmap=colormap(), norm=norm)
    bar = axes.figure.colorbar(image, ax=axes, format=FuncFormatter(lambda rows, _: f"{rows:,.0f}"), shrink=0.8)
    bar.ax.set_ylim(bottom=1)
    bar.set_label("rows per cell", color=FOREGROUND, fontsize=9)
    bar.ax.tick_params(labelsize=8, labelcolor=FOREGROUND)


def _residuals(residuals: Histogram, quantiles: dict[float, float], target: str) -> bytes:
    figure = new_figure(3.4)
    axes = add_axes(figure)
    low, high = quantiles.get(0.05), quantiles.get(0.95)
    known = low is not None and high is not None
    title = (
        f"90 % of the residuals are between {format_number(low)} and {format_number(high)}" if known else "Residuals"
    )
    set_labels(figure, axes, title, f"actual - predicted {target}", "rows")
    format_thousands(axes.xaxis)
    format_thousands(axes.yaxis)
    axes.stairs(residuals.counts, residuals.edges, fill=True, color=BLUE, alpha=0.75)
    axes.axvline(0, color=FOREGROUND, linewidth=1, label="predicted = actual")
    if low is not None and high is not None:
        axes.axvline(low, color=ORANGE, linewidth=1.2, linestyle="--", label="90 % of the rows")
        axes.axvline(high, color=ORANGE, linewidth=1.2, linestyle="--")
    add_legend(axes)
    return to_png(figure)


MAX_COUNTED_CLASSES = 10
"""Classes up to which the confusion matrix has room for numbers."""


class OperatingPoint(NamedTuple):
    """What a binary classifier does at its threshold."""

    false_positive_rate: float
    recall: float
    precision: float


def classification_plots(evaluation: Evaluation) -> dict[str, bytes]:
    """PNGs by name; only of what the evaluation has, none for that of a regressor."""
    plot_data = evaluation.classification
    if plot_data is None:
        return {}
    plots = {}
    if plot_data.curves:
        plots["roc"] = _roc(evaluation, plot_data.curves)
        plots["precision-recall"] = _precision_recall(evaluation, plot_data.curves)
    if plot_data.calibration is not None:
        plots["calibration"] = _calibration(evaluation, plot_data.calibration)
    if plot_data.confusion is not None and len(plot_data.confusion.labels) > 2:
        plots["confusion"] = _confusion(plot_data.confusion)
    return plots


def _roc(evaluation: Evaluation, curves: tuple[ClassCurves, ...]) -> bytes:
    figure, axes = new_square_figure()
    set_labels(figure, axes, _roc_title(evaluation), "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
    for one, style in zip(curves, line_styles(len(curves)), strict=True):
        _plot_curve(
            axes,
            one.roc,
            style,
            f"{_class_prefix(evaluation, one.label)}AUC {format_number(_area_under_curve(evaluation, one.label))}",
        )
    point = _operating_point(evaluation)
    if point:
        _plot_point(axes, point.false_positive_rate, point.recall)
    add_legend(axes, _legend_title(evaluation), outside=True)
    return to_png(figure)


def _precision_recall(evaluation: Evaluation, curves: tuple[ClassCurves, ...]) -> bytes:
    figure, axes = new_square_figure()
    set_labels(figure, axes, _precision_title(evaluation), "recall", "precision")
    for one, style in zip(curves, line_styles(len(curves)), strict=True):
        rate = _base_rate(evaluation, one.label)
        if _is_binary(evaluation) and rate is not None:
            axes.axhline(rate, color=GREY, linewidth=1, linestyle=":", label=f"chance: {format_share(rate)}")
        label = (
            f"PR-AUC {format_number(evaluation.value('pr_auc'))}"
            if _is_binary(evaluation)
            else f"{format_share(rate)} of rows"
        )
        _plot_curve(axes, one.precision_recall, style, f"{_class_prefix(evaluation, one.label)}{label}")
    point = _operating_point(evaluation)
    if point:
        _plot_point(axes, point.recall, point.precision)
    add_legend(axes, _legend_title(evaluation), outside=True)
    return to_png(figure)


def _calibration(evaluation: Evaluation, curve: Curve) -> bytes:
    figure, axes = new_square_figure()
    off = float(np.mean(np.abs(np.subtract(curve.x, curve.y)))) if curve.x else None
    what = ("label 1", "rows that are 1") if _is_binary(evaluation) else ("the predicted class", "rows that are right")
    title = f"Probabilities are off by {format_share(off)} on average"
    set_labels(figure, axes, title, f"mean probability of {what[0]}, per tenth of the rows", f"share of {what[1]}")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="taken at their word")
    axes.plot(curve.x, curve.y, color=BLUE, linewidth=1.8, marker="o", markersize=5, label="this model")
    add_legend(axes, outside=True)
    return to_png(figure)


def _confusion(confusion: Confusion) -> bytes:
    from matplotlib.colors import PowerNorm

    figure = new_figure(5.2)
    axes = add_axes(figure)
    counts = np.array(confusion.counts, np.float64)
    of_actual = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    set_labels(figure, axes, _confusion_title(confusion, counts), "predicted class", "actual class")
    image = axes.imshow(of_actual, cmap=colormap(), norm=PowerNorm(0.5, 0, 1))  # rare mistakes are to be seen, too
    places = range(len(confusion.labels))
    axes.set_xticks(places, [str(label) for label in confusion.labels])
    axes.set_yticks(places, [str(label) for label in confusion.labels])
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the actual class", color=FOREGROUND, fontsize=9)
    bar.ax.tick_params(labelsize=8, labelcolor=FOREGROUND)
    if len(places) <= MAX_COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            ink = BACKGROUND if of_actual[row, column] > 0.3 else FOREGROUND
            axes.text(column, row, f"{count:,.0f}", ha="center", va="center", fontsize=8, color=ink)
    return to_png(figure)


def _plot_curve(axes: "Axes", curve: Curve, style: LineStyle, label: str) -> None:
    [line] = axes.plot(curve.x, curve.y, color=style.color, linestyle=style.linestyle, linewidth=1.8, label=label)
    line.set(marker=style.marker, markersize=4, markevery=0.11)


def _plot_point(axes: "Axes", x: float, y: float) -> None:
    label = "at the threshold"
    axes.plot(
        [x], [y], color=ORANGE, marker="D", markersize=7, markeredgecolor=BACKGROUND, linestyle="none", label=label
    )


def _roc_title(evaluation: Evaluation) -> str:
    area = evaluation.value("roc_auc")
    if area is None:
        return "ROC curve"
    if _is_binary(evaluation):
        return f"A row with label 1 scores above one with 0 in {format_share(area)} of pairs"
    known = {one.label: one.roc_auc for one in evaluation.classes if one.roc_auc is not None}
    hardest = (
        f", lowest {format_number(min(known.values()))} for class {min(known, key=known.__getitem__)}" if known else ""
    )
    return f"ROC-AUC {format_number(area)} on average over classes{hardest}"


def _precision_title(evaluation: Evaluation) -> str:
    precision, recall = (evaluation.value(name) for name in ("precision", "recall"))
    if not _is_binary(evaluation) or precision is None or recall is None:
        return f"PR-AUC {format_number(evaluation.value('pr_auc'))} on average over classes"
    return f"Of all 1s it finds {format_share(recall)}, of those it finds {format_share(precision)} are right"


def _confusion_title(confusion: Confusion, counts: NDArray[np.float64]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return "No mistakes"
    actual, predicted = divmod(int(wrong.argmax()), len(confusion.labels))
    taken = f"class {confusion.labels[actual]} taken for {confusion.labels[predicted]}"
    return f"Most frequent mistake: {taken}, {format_count('row', int(wrong.max()))}"


def _operating_point(evaluation: Evaluation) -> OperatingPoint | None:
    """None for a multiclass, and where one of the three is not defined."""
    confusion = evaluation.classification.confusion if evaluation.classification else None
    if not _is_binary(evaluation) or confusion is None or confusion.labels != (0, 1):
        return None
    (negative, false_positive), (missed, hit) = confusion.counts
    if not (negative + false_positive and missed + hit and hit + false_positive):
        return None
    false_positive_rate = false_positive / (negative + false_positive)
    return OperatingPoint(false_positive_rate, hit / (missed + hit), hit / (hit + false_positive))


def _base_rate(evaluation: Evaluation, label: int) -> float | None:
    rows = next((one.rows for one in evaluation.classes if one.label == label), None)
    return rows / evaluation.rows if rows is not None and evaluation.rows else None


def _area_under_curve(evaluation: Evaluation, label: int) -> float | None:
    if _is_binary(evaluation):
        return evaluation.value("roc_auc")
    return next((one.roc_auc for one in evaluation.classes if one.label == label), None)


def _class_prefix(evaluation: Evaluation, label: int) -> str:
    return "" if _is_binary(evaluation) else f"{label}: "


def _legend_title(evaluation: Evaluation) -> str | None:
    return None if _is_binary(evaluation) else "class"


def _is_binary(evaluation: Evaluation) -> bool:
    return evaluation.predictor_type == "binary_classifier"
