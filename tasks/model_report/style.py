"""How a report's plots and numbers look: an opaque background for light and dark pages, colours that all can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import cycle, islice
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from PIL.Image import Image

WIDTH: Final = 6.4
"""Inches, of 100 pixels as the plot is shown."""
BACKGROUND, FOREGROUND, GRID = "#fbfbf9", "#24262b", "#d4d6da"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#007a5a", "#a8518a", "#5d6168"
_LINES: Final = (BLUE, ORANGE, GREEN, PURPLE, FOREGROUND)
_DASHES: Final[tuple[str | tuple[int, tuple[int, ...]], ...]] = ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)))
_PIXELS_PER_INCH: Final = 200  # twice what is shown: sharp on a dense screen
_FADE_STEPS: Final = 5
_LEGEND_X: Final = 0.69
_UNKNOWN_GLYPH = "\N{WHITE SQUARE}"
CAPTIONS = {
    "learning-curve": (
        "Learning curve",
        "The loss of the kept model, or of the best one where the log names none. It should fall and level out.",
    ),
    "predicted-and-actual": (
        "Predicted and actual values",
        "Rows on the diagonal are right; above it too much was predicted, below it too little. Darker cells hold more.",
    ),
    "residuals": (
        "Residuals",
        "Should be one narrow hill around 0; a hill beside 0 or a long tail is what the model does not know.",
    ),
    "roc": ("ROC curves", "The closer to the upper left corner, the better; the diagonal is chance."),
    "precision-recall": (
        "Precision and recall",
        "The closer to the upper right corner, the better; the share of the rows that are so is what chance reaches.",
    ),
    "calibration": (
        "Calibration",
        "Points on the diagonal are probabilities to be taken at their word; below it they promise too much.",
    ),
    "confusion": ("Confusion matrix", "Dark on the diagonal is right; every other dark cell is a habitual mistake."),
    "effects": (
        "Largest effects",
        "What one standard deviation more of a feature does to the prediction, all others unchanged.",
    ),
}
"""Of each plot, by its name and in the order of the report: the title, and what to look for."""
NO_VALUE = "\N{EN DASH}"
"""What stands where there is no figure."""


def format_number(figure: float | None, digits: int = 4) -> str:
    """A figure with so many significant digits, or NOTHING; whole ones are kept: 0.9134, 12.35, 1,234,567."""
    if figure is None or not isfinite(figure):
        return NO_VALUE
    size = floor(log10(abs(figure))) if figure else 0
    if not -5 < size < 12:
        return f"{figure:.{digits - 1}e}"
    whole = float(figure).is_integer() and size >= digits - 1
    return f"{figure:,.{0 if whole or not figure else max(0, digits - 1 - size)}f}"


def format_share(figure: float | None) -> str:
    """A share of one, in per cent."""
    return NO_VALUE if figure is None or not isfinite(figure) else f"{format_number(100 * figure, 3)} %"


def format_count(what: str, count: int) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class LineStyle:
    """How one line among many is drawn; no two look alike even without colour."""

    color: str
    linestyle: str | tuple[int, tuple[int, ...]]
    marker: str


def new_figure(height: float = 4.0) -> "Figure":
    """An empty card, `height` inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=_PIXELS_PER_INCH, facecolor=BACKGROUND)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return figure


def add_axes(figure: "Figure", place: int = 1, places: int = 1) -> "Axes":
    """Axes in the `place`-th of `places` rows of the card."""
    axes = figure.add_subplot(places, 1, place)
    axes.set_facecolor(BACKGROUND)
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.6)
    axes.tick_params(colors=GREY, labelcolor=FOREGROUND, labelsize=9, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(GREY)
    return axes


def set_labels(figure: "Figure", axes: "Axes", title: str, x: str, y: str) -> None:
    """Say what was found and what the axes are, in text that is plain()."""
    figure.suptitle(title, color=FOREGROUND, fontsize=11, fontweight="bold", x=0.02, ha="left")
    axes.set_xlabel(x, color=FOREGROUND, fontsize=10)
    axes.set_ylabel(y, color=FOREGROUND, fontsize=10)


def add_legend(axes: "Axes", title: str | None = None, *, outside: bool = False) -> None:
    """Explain the lines: where the axes have most room, or beside a square."""
    looks = {"fontsize": 9, "labelcolor": FOREGROUND, "facecolor": BACKGROUND, "edgecolor": GRID, "handlelength": 3}
    if outside:
        made = axes.figure.legend(title=title, loc="center left", bbox_to_anchor=(_LEGEND_X, 0.5), **looks)
        made.get_title().set(color=FOREGROUND, fontsize=9)
    else:
        axes.legend(loc="best", **looks)


def format_thousands(axis: "Axis") -> None:
    """Write the axis's numbers as people do: 25,000."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def colormap() -> "Colormap":
    """From nearly white to dark; few, as each needs its place in a PNG's palette."""
    from matplotlib import colormaps

    return colormaps["Blues"].resampled(10)


def new_square_figure() -> tuple["Figure", "Axes"]:
    """A card with square axes that both run from 0 to 1, and room for a legend beside them."""
    figure = new_figure(4.6)
    figure.set_layout_engine("none")  # which would cut the label of a square with something beside it
    axes = add_axes(figure)
    axes.set_position((0.115, 0.125, 0.775 * 4.6 / WIDTH, 0.775))
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks)
    return figure, axes


def line_styles(count: int) -> Sequence[LineStyle]:
    """As many different styles, up to twenty-five."""
    markers = (mark for mark in ("", "o", "s", "^", "D") for _ in _LINES)
    triples = zip(cycle(_LINES), cycle(_DASHES), markers, strict=False)
    return [LineStyle(*one) for one in islice(triples, count)]


def plain_text(text: str, length: int = 44) -> str:
    """Somebody's text as matplotlib can show it: one line, no formula, a square for what the font does not have."""
    shown = "".join(char if char.isprintable() else " " for char in text).strip() or "(no name)"
    cut = shown if len(shown) <= length else shown[: length - 1] + "…"
    return "".join(char if _has_glyph(char) else _UNKNOWN_GLYPH for char in cut).replace("$", r"\$")


def to_png(figure: "Figure") -> bytes:
    """The card as a PNG of few colours: a third of the size, and it looks the same."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    written = BytesIO()
    image.quantize(palette=_palette(), dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


@cache
def _palette() -> "Image":
    """Every colour that is drawn, the steps in which its edges fade into the card, and the shades."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    background = np.array(to_rgb(BACKGROUND))
    fading = [
        background + part * (np.array(to_rgb(color)) - background)
        for color in (FOREGROUND, BLUE, ORANGE, GREEN, PURPLE, GREY, GRID)
        for part in np.linspace(0, 1, _FADE_STEPS + 1)[1:]
    ]
    ramp = colormap()
    levels = np.array([background, *fading, *(ramp(level)[:3] for level in range(ramp.N))])
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * levels).round().astype(int).ravel().tolist())
    return palette


@cache
def _has_glyph(char: str) -> bool:
    """Whether the fonts of labels and of titles have it; matplotlib would warn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = (get_font(findfont(FontProperties(weight=weight))) for weight in ("normal", "bold"))
    return all(font.get_char_index(ord(char)) for font in fonts)
