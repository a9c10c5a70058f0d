"""Draw the plots of a report from the test rows, the model and the training log."""

from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from linear_learner.logs.convergence import measure_late_improvement
from linear_learner.logs.reader import LogReport
from linear_learner.model import LinearModel, Predictions
from tasks.data.numbers import format_count, format_number, format_share
from tasks.download import TrainedModel
from tasks.evaluation.results import Evaluation
from tasks.model_report.effects import Effects, Plot, describe_output
from tasks.model_report.style import (
    BACKGROUND,
    BLUE,
    FOREGROUND,
    GREEN,
    GREY,
    LINES,
    ORANGE,
    STYLE,
    THOUSANDS,
    add_legend_beside,
    new_figure,
    new_square_figure,
    plain_text,
    to_data_url,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
CELLS = 40  # along each axis of a histogram
MAX_RANGE = 3
"""Of the range of 99 % of the values; if all values have a larger one, the axis is logarithmic beyond those 99 %."""
CALIBRATION_BINS = 10
MAX_BARS = 10
MAX_MARKED_EPOCHS = 30
MAX_COUNTED_CLASSES = 10  # the confusion matrix of more classes has no room for numbers
_LOSS_LINES = {"validation": (BLUE, "-"), "train": (ORANGE, "--")}
_DRAWING = Lock()  # held while matplotlib's settings, which all threads share, are changed


def draw_plots(  # noqa: PLR0913, PLR0917 - what the plots show
    trained: TrainedModel,
    model: LinearModel,
    labels: NDArray[np.floating],
    predictions: Predictions,
    evaluation: Evaluation,
    effects: Effects,
) -> dict[str, Plot]:
    """The plots by name, PNGs 1280 pixels wide; a plot without data is omitted.

    `predictions` are those of `model` for the test rows, with `labels` (rows,).
    """
    from matplotlib import rc_context

    target = plain_text(trained.table.target, 30)
    with _DRAWING, rc_context(STYLE):
        figures = {"learning-curve": _learning_curve(trained.job.log.summary)}
        if evaluation.predictor_type == "regressor":
            actual, predicted = labels.astype(np.float64), predictions.scores.astype(np.float64)
            figures["residuals-and-predicted"] = _residuals_and_predicted(actual, predicted, evaluation, target)
            figures["residuals"] = _residuals(actual - predicted, evaluation, target)
        else:
            figures |= _classification_figures(labels.astype(np.intp), predictions, evaluation)
        figures["effects"] = _effects(effects, evaluation, describe_output(model, target, _positive(evaluation)))
        return {
            name: Plot(url=to_data_url(figure), finding=figure.get_suptitle())
            for name, figure in figures.items()
            if figure
        }


def _learning_curve(summary: LogReport | None) -> "Figure | None":
    if summary is None:
        return None
    by_channel = {
        name: {epoch.number: loss for epoch in summary.epochs for loss in getattr(epoch, name).values()}
        for name in _LOSS_LINES
    }
    lines = {name: line for name, line in by_channel.items() if line}
    if not lines:
        return None
    # The losses of a regressor have different scales: its training loss is in units of the normalised label.
    apart = len(lines) > 1 and not (summary.objective or "").endswith("cross_entropy")
    groups = [{name: line} for name, line in lines.items()] if apart else [lines]
    figure, rows = new_figure(_learning_title(summary), 4.6 if apart else 3.6, len(groups))
    for axes, group in zip(rows, groups, strict=True):
        _plot_losses(axes, group, summary)
        loss = plain_text(summary.objective or "loss")
        axes.set_ylabel(f"{next(iter(group))} {loss}" if apart else loss)
    rows[-1].set_xlabel("epoch")
    return figure


def _learning_title(summary: LogReport) -> str:
    last = summary.epochs[-1].number
    if measure_late_improvement(summary) is not None:
        return f"Still improving at the last epoch, {last}: raise epochs"
    saved = "" if summary.saved_epoch is None else f"; model saved at epoch {summary.saved_epoch + 1}"
    return f"{'Stopped early' if summary.stopped_early else 'Completed'} after epoch {last}{saved}"


def _plot_losses(axes: "Axes", lines: dict[str, dict[int, float]], summary: LogReport) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    for name, line in lines.items():
        color, dashes = _LOSS_LINES[name]
        marker = "o" if len(line) <= MAX_MARKED_EPOCHS else ""
        axes.plot([*line], [*line.values()], color=color, linestyle=dashes, marker=marker, markersize=3.5, label=name)
    if summary.saved_epoch is not None:
        axes.axvline(summary.saved_epoch + 1, color=GREEN, linewidth=1.2, linestyle=":", label="saved model")
    losses = [loss for line in lines.values() for loss in line.values()]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper right")


def _residuals_and_predicted(actual: Floats, predicted: Floats, evaluation: Evaluation, target: str) -> "Figure":
    from matplotlib.colors import LogNorm

    title = f"The error of half of the rows is at most {format_number(evaluation.value('median_error'))}"
    figure, [axes] = new_figure(title, 4.2)
    (x_edges, x_limit), (y_edges, y_limit) = _edges(predicted), _edges(actual - predicted)
    norm = LogNorm(vmin=0.4)  # a single row is visible as well
    counts, *_, image = axes.hist2d(predicted, actual - predicted, [x_edges, y_edges], cmin=1, norm=norm)
    bar = figure.colorbar(image, ax=axes, format="{x:,.0f}", shrink=0.8, label="rows per cell")
    bar.ax.set_ylim(1, max(2, np.nanmax(counts)))
    axes.axhline(0, color=ORANGE, linewidth=1.2, linestyle="--", label="actual = predicted")
    _set_scale(axes, "x", f"predicted {target}", x_edges, x_limit)
    _set_scale(axes, "y", f"actual - predicted {target}", y_edges, y_limit)
    axes.legend(loc="upper left")
    return figure


def _residuals(residuals: Floats, evaluation: Evaluation, target: str) -> "Figure":
    low, high = evaluation.residual_quantiles[0.05], evaluation.residual_quantiles[0.95]
    furthest = residuals[np.abs(residuals).argmax()]
    title = f"90 % of residuals: {format_number(low)} to {format_number(high)}; the largest: {format_number(furthest)}"
    figure, [axes] = new_figure(title, 3.4)
    edges, limit = _edges(residuals)
    axes.hist(residuals, edges.tolist(), color=BLUE, alpha=0.75, log=limit is not None)
    axes.axvline(0, color=FOREGROUND, linewidth=1, label="actual = predicted")
    axes.axvline(low, color=ORANGE, linewidth=1.2, linestyle="--", label="5 % and 95 % quantiles")
    axes.axvline(high, color=ORANGE, linewidth=1.2, linestyle="--")
    _set_scale(axes, "x", f"actual - predicted {target}", edges, limit)
    axes.set_ylabel("rows" if limit is None else "rows (logarithmic)")
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.legend(loc="upper right")
    return figure


def _edges(values: Floats) -> tuple[Floats, float | None]:
    """The edges of the cells of a histogram of all values, (CELLS + 1,), and beyond which value they are logarithmic.

    The second is None for equal cells. With a few values far from the others, at least half of the axis is for 99 %.
    """
    from matplotlib.scale import SymmetricalLogTransform

    low, high = float(values.min()), float(values.max())
    inner = np.quantile(values, (0.005, 0.995))
    limit = float(np.abs(inner).max())
    if high - low <= MAX_RANGE * (inner[1] - inner[0]) or limit == 0 or high == low:
        margin = 0.0 if high > low else max(abs(low) / 1000, 0.5)
        return np.linspace(low - margin, high + margin, CELLS + 1), None
    scale = SymmetricalLogTransform(10, limit, _linear_share(limit, low, high))
    first, last = scale.transform(np.array([low, high]))
    edges = np.asarray(scale.inverted().transform(np.linspace(first, last, CELLS + 1)))
    edges[[0, -1]] = low, high
    return edges, limit


def _linear_share(limit: float, *ends: float) -> float:
    """The decades that the linear part between 0 and `limit` takes on a logarithmic axis."""
    return max(1.0, float(np.log10(np.abs(ends).max() / limit)))


def _set_scale(axes: "Axes", name: Literal["x", "y"], label: str, edges: Floats, limit: float | None) -> None:
    """Label an axis, and make it logarithmic beyond the `limit` of its cells, if there is one."""
    low, high = edges[0], edges[-1]
    if limit is not None:
        set_scale = axes.set_xscale if name == "x" else axes.set_yscale
        set_scale("symlog", linthresh=limit, linscale=_linear_share(limit, low, high))
        label = f"{label}\n(logarithmic beyond ±{format_number(limit, 2)})"
    axes.set(**{f"{name}lim": (low, high), f"{name}label": label})
    (axes.xaxis if name == "x" else axes.yaxis).set_major_formatter(THOUSANDS)


def _classification_figures(
    labels: NDArray[np.intp], predictions: Predictions, evaluation: Evaluation
) -> "dict[str, Figure | None]":
    figures: dict[str, Figure | None] = {}
    scores = {1: predictions.scores} if _is_binary(evaluation) else dict(enumerate(predictions.scores.T))
    areas = {label: area for label in scores if (area := evaluation.classes[label].roc_auc) is not None}
    shown = {label: scores[label] for label in sorted(areas, key=areas.__getitem__)[: len(LINES)]}
    if shown:
        figures["roc"] = _roc(labels, shown, evaluation)
        figures["precision-recall"] = _precision_recall(labels, shown, evaluation)
    if evaluation.value("log_loss") is not None:
        figures["calibration"] = _calibration(labels, predictions, evaluation)
    if len(evaluation.confusion) > 2:
        figures["confusion"] = _confusion(
            np.array(evaluation.confusion), [_class(evaluation, one.label) for one in evaluation.classes]
        )
    return figures


def _roc(labels: NDArray[np.intp], scores: dict[int, NDArray[np.floating]], evaluation: Evaluation) -> "Figure":
    from sklearn.metrics import roc_curve

    figure, axes = new_square_figure(_roc_title(evaluation), "false positive rate", "true positive rate")
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=":", label="chance")
    for (label, of_class), line in zip(scores.items(), LINES, strict=False):
        false_positive_rate, recall, _ = roc_curve(labels == label, of_class)
        area = f"AUC {format_number(evaluation.classes[label].roc_auc)}"
        axes.plot(
            false_positive_rate,
            recall,
            **line,
            label=area if _is_binary(evaluation) else f"{_class(evaluation, label)}: {area}",
        )
    if _is_binary(evaluation):
        [negative, false_positive], _ = evaluation.confusion
        _plot_threshold(axes, false_positive / (negative + false_positive), evaluation.value("recall"))
    add_legend_beside(figure, _legend_title(evaluation))
    return figure


def _roc_title(evaluation: Evaluation) -> str:
    area = evaluation.value("roc_auc")
    if _is_binary(evaluation):
        return f"A row with {_positive(evaluation)} has the higher score in {format_share(area)} of pairs"
    areas = {one.label: one.roc_auc for one in evaluation.classes if one.roc_auc is not None}
    hardest = min(areas, key=areas.__getitem__)
    lowest = f"lowest {format_number(areas[hardest])} for class {_class(evaluation, hardest)}"
    return f"ROC-AUC {format_number(area)} on average over classes, {lowest}"


def _precision_recall(
    labels: NDArray[np.intp], scores: dict[int, NDArray[np.floating]], evaluation: Evaluation
) -> "Figure":
    from sklearn.metrics import precision_recall_curve

    area, precision, recall = (evaluation.value(name) for name in ("pr_auc", "precision", "recall"))
    title = f"PR-AUC {format_number(area)} on average over classes"
    if _is_binary(evaluation):
        title = f"Recall {format_share(recall)}, precision {format_share(precision)} at the threshold"
    figure, axes = new_square_figure(title, "recall", "precision")
    for (label, of_class), line in zip(scores.items(), LINES, strict=False):
        precisions, recalls, _ = precision_recall_curve(labels == label, of_class, drop_intermediate=True)
        share = evaluation.classes[label].rows / evaluation.rows
        if _is_binary(evaluation):
            axes.axhline(share, color=GREY, linewidth=1, linestyle=":", label=f"chance: {format_share(share)}")
        text = (
            f"PR-AUC {format_number(area)}"
            if _is_binary(evaluation)
            else f"{_class(evaluation, label)}: {format_share(share)} of rows"
        )
        axes.plot(recalls, precisions, **line, label=text)
    if _is_binary(evaluation):
        _plot_threshold(axes, recall or 0, precision)
    add_legend_beside(figure, _legend_title(evaluation))
    return figure


def _legend_title(evaluation: Evaluation) -> str | None:
    if _is_binary(evaluation):
        return None
    classes = len(evaluation.classes)
    return f"{len(LINES)} of {classes} classes,\nlowest ROC-AUC first" if classes > len(LINES) else "class"


def _plot_threshold(axes: "Axes", x: float, y: float | None) -> None:
    label = "at the threshold"
    axes.plot(x, y or 0, "D", color=ORANGE, markersize=7, markeredgecolor=BACKGROUND, label=label)


def _calibration(labels: NDArray[np.intp], predictions: Predictions, evaluation: Evaluation) -> "Figure":
    from sklearn.calibration import calibration_curve

    if _is_binary(evaluation):
        event = (_positive(evaluation), f"rows with {_positive(evaluation)}")
        probabilities, occurred = predictions.scores, labels == 1
    else:
        event = ("the predicted class", "correct predictions")
        probabilities, occurred = predictions.scores.max(axis=1), labels == predictions.labels
    share, mean = calibration_curve(occurred, probabilities, n_bins=CALIBRATION_BINS, strategy="quantile")
    title = f"Average error of the probabilities: {format_share(np.abs(mean - share).mean())}"
    x, y = f"mean probability of {event[0]}, per tenth of the rows", f"share of {event[1]}"
    figure, axes = new_square_figure(title, x, y)
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=":", label="perfect calibration")
    axes.plot(mean, share, color=BLUE, marker="o", markersize=5, label="this model")
    add_legend_beside(figure)
    return figure


def _confusion(counts: NDArray[np.intp], names: list[str]) -> "Figure":
    from matplotlib.colors import PowerNorm

    figure, [axes] = new_figure(_confusion_title(counts, names), 5.2)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, norm=PowerNorm(0.5, 0, 1))  # rare errors are visible as well
    axes.set(xlabel="predicted class", ylabel="actual class")
    upright = max(map(len, names)) <= 3
    axes.set_xticks(range(len(names)), names, rotation=0 if upright else 45, ha="center" if upright else "right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the actual class")
    if len(counts) <= MAX_COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            color = BACKGROUND if shares[row, column] > 0.3 else FOREGROUND
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=color)
    return figure


def _confusion_title(counts: NDArray[np.intp], names: list[str]) -> str:
    errors = counts - np.diag(np.diag(counts))
    if not errors.any():
        return "No errors"
    actual, predicted = divmod(int(errors.argmax()), len(counts))
    rows = format_count("row", errors.max())
    return f"Most frequent error: class {names[actual]} predicted as {names[predicted]}, {rows}"


def _is_binary(evaluation: Evaluation) -> bool:
    return evaluation.predictor_type == "binary_classifier"


def _positive(evaluation: Evaluation) -> str:
    """Class 1 of a binary classifier, in words."""
    return f"class {_class(evaluation, 1)}"


def _class(evaluation: Evaluation, label: int) -> str:
    return plain_text(evaluation.class_name(label), 20)


def _effects(effects: Effects, evaluation: Evaluation, output: str) -> "Figure | None":
    shown = [(one, size) for one in effects.listed[:MAX_BARS] if (size := one.size) is not None and np.isfinite(size)]
    if not shown:
        return None
    figure, [axes] = new_figure(f"Largest effect: {plain_text(shown[0][0].column, 36)}", 1.3 + 0.3 * len(shown))
    several = evaluation.predictor_type == "multiclass_classifier"
    names = [
        plain_text(one.column, 30) + (f" (class {_class(evaluation, one.output)})" if several else "")
        for one, _ in shown
    ]
    sizes = [size for _, size in shown]
    bars = axes.barh(range(len(sizes)), sizes, color=[BLUE if size >= 0 else ORANGE for size in sizes], height=0.7)
    axes.bar_label(bars, [format_number(size, 3) for size in sizes], padding=3, fontsize=8)
    axes.set_yticks(range(len(sizes)), names)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_xlabel(f"effect of one standard deviation on {output}")
    axes.xaxis.set_major_formatter(THOUSANDS)
    return figure
