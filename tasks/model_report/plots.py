"""The plots of a report: PNGs, drawn without a screen, a window or anything that other threads would share."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from linear_learner.story import EpochPoint, Story
from tasks.model_report.canvas import BLUE, GREEN, GREY, INK, ORANGE, axes, card, legend, plain, png, thousands, titled
from tasks.model_report.cells import number
from tasks.model_report.classification_plots import classification_plots
from tasks.model_report.regression_plots import regression_plots
from tasks.model_report.subject import Effect, Subject, effects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 10
_FEW_EPOCHS = 30


def draw(subject: Subject) -> dict[str, bytes]:
    """PNGs, 1280 pixels wide, by the names that the markdown's CAPTIONS explain; only of what there is to show."""
    return {
        **_learning_curve(subject.story),
        **regression_plots(subject.evaluation, subject.target),
        **classification_plots(subject.evaluation),
        **_effects(subject),
    }


def data_urls(plots: Mapping[str, bytes]) -> dict[str, str]:
    """The plots as markdown carries them."""
    return {name: f"data:image/png;base64,{b64encode(plot).decode()}" for name, plot in plots.items()}


def _learning_curve(story: Story | None) -> dict[str, bytes]:
    lines = dict(_lines(story)) if story else {}
    if story is None or not lines:
        return {}
    # Of a regression each loss has its own scale: training is told in units of the normalised label.
    apart = len(lines) > 1 and not (story.objective or "").endswith("cross_entropy")
    figure = card(4.6 if apart else 3.6)
    groups = [{name: line} for name, line in lines.items()] if apart else [lines]
    for place, group in enumerate(groups, start=1):
        drawn = axes(figure, place, len(groups))
        _losses(drawn, group, story)
        whose = f"{next(iter(group))} " if apart else ""
        below = "epoch" if place == len(groups) else ""
        titled(figure, drawn, _title(story), below, whose + plain(story.objective or "loss"))
    return {"learning-curve": png(figure)}


def _lines(story: Story) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    for name in ("validation", "train"):
        known = [(point.index, loss) for point in story.curve if (loss := _loss(point, name)) is not None]
        if known:
            yield name, known


def _loss(point: EpochPoint, name: str) -> float | None:
    return point.validation if name == "validation" else point.train


def _losses(drawn: "Axes", lines: Mapping[str, Sequence[tuple[int, float]]], story: Story) -> None:
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
    if story.kept_epoch is not None:
        drawn.axvline(story.kept_epoch, color=GREEN, linewidth=1.2, linestyle=":", label="kept")
    losses = [loss for points in lines.values() for _, loss in points]
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        drawn.set_yscale("log")
        drawn.yaxis.set_minor_formatter(NullFormatter())
    thousands(drawn.yaxis)
    drawn.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(drawn)


def _title(story: Story) -> str:
    last = max(point.index for point in story.curve)
    how = "Stopped early after" if story.stopped_early else "Ran to its last"
    kept = "" if story.kept_epoch is None else f"; epoch {story.kept_epoch} was kept"
    return f"{how} epoch {last}{kept}"


def _effects(subject: Subject) -> dict[str, bytes]:
    known = [one for one in effects(subject)[:MOST_BARS] if one.largest >= 0]
    if not known:
        return {}
    figure = card(1.3 + 0.3 * len(known))
    drawn = axes(figure)
    first = plain(known[0].feature, 36)
    titled(figure, drawn, f"{first} decides most", f"effect of one standard deviation on {_output(subject)}", "")
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


def _output(subject: Subject) -> str:
    if subject.model.predictor_type == "regressor":
        return plain(subject.target, 30)
    if subject.model.predictor_type == "multiclass_classifier":
        return "the class's score"
    return "the log-odds of label 1" if subject.model.has_sigmoid else "the distance from the plane"
