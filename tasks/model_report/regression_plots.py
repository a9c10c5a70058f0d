"""The plots of a regression: what was predicted against what was so, and what is left over."""

from typing import TYPE_CHECKING

import numpy as np

from tasks.evaluation.results import Density, Evaluation, Histogram
from tasks.model_report.canvas import BLUE, INK, ORANGE, axes, card, legend, plain, png, shades, thousands, titled
from tasks.model_report.cells import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    figure = card(5.0)
    drawn = axes(figure)
    typical = evaluation.value("median_error")
    title = (
        "Predicted and actual values" if typical is None else f"Half of the rows are off by at most {number(typical)}"
    )
    titled(figure, drawn, title, f"actual {target}", f"predicted {target}")
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
    image = drawn.pcolormesh(density.edges, density.edges, shown, cmap=shades(), norm=norm)
    bar = drawn.figure.colorbar(image, ax=drawn, format=FuncFormatter(lambda rows, _: f"{rows:,.0f}"), shrink=0.8)
    bar.ax.set_ylim(bottom=1)
    bar.set_label("rows per cell", color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, labelcolor=INK)


def _residuals(residuals: Histogram, quantiles: dict[float, float], target: str) -> bytes:
    figure = card(3.4)
    drawn = axes(figure)
    low, high = quantiles.get(0.05), quantiles.get(0.95)
    known = low is not None and high is not None
    title = f"90 % of the residuals are between {number(low)} and {number(high)}" if known else "Residuals"
    titled(figure, drawn, title, f"actual - predicted {target}", "rows")
    thousands(drawn.xaxis)
    thousands(drawn.yaxis)
    drawn.stairs(residuals.counts, residuals.edges, fill=True, color=BLUE, alpha=0.75)
    drawn.axvline(0, color=INK, linewidth=1, label="predicted = actual")
    if low is not None and high is not None:
        drawn.axvline(low, color=ORANGE, linewidth=1.2, linestyle="--", label="90 % of the rows")
        drawn.axvline(high, color=ORANGE, linewidth=1.2, linestyle="--")
    legend(drawn)
    return png(figure)
