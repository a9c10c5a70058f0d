"""The plots of a classification: how well classes are told apart, and what probabilities are worth."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.results import ClassCurves, Confusion, Curve, Evaluation
from tasks.model_report.canvas import (
    BLUE,
    CARD,
    GREY,
    INK,
    ORANGE,
    Style,
    axes,
    card,
    legend,
    png,
    shades,
    square_card,
    styles,
    titled,
)
from tasks.model_report.cells import counted, number, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COUNTS = 10
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
    titled(figure, drawn, _roc_title(evaluation), "false positive rate", "true positive rate")
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
    titled(figure, drawn, _precision_title(evaluation), "recall", "precision")
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
    titled(figure, drawn, title, f"mean probability of {what[0]}, per tenth of the rows", f"share of {what[1]}")
    drawn.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="taken at their word")
    drawn.plot(curve.x, curve.y, color=BLUE, linewidth=1.8, marker="o", markersize=5, label="this model")
    legend(drawn, beside=True)
    return png(figure)


def _confusion(confusion: Confusion) -> bytes:
    from matplotlib.colors import PowerNorm

    figure = card(5.2)
    drawn = axes(figure)
    counts = np.array(confusion.counts, np.float64)
    of_actual = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    titled(figure, drawn, _confusion_title(confusion, counts), "predicted class", "actual class")
    image = drawn.imshow(of_actual, cmap=shades(), norm=PowerNorm(0.5, 0, 1))  # rare mistakes are to be seen, too
    places = range(len(confusion.labels))
    drawn.set_xticks(places, [str(label) for label in confusion.labels])
    drawn.set_yticks(places, [str(label) for label in confusion.labels])
    drawn.grid(visible=False)
    bar = figure.colorbar(image, ax=drawn, shrink=0.8)
    bar.set_label("share of the actual class", color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, labelcolor=INK)
    if len(places) <= MOST_COUNTS:
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
