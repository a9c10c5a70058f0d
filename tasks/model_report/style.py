"""What every plot is drawn on: an opaque card, readable in light and dark pages, in colours that all can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import cycle, islice
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
CARD, INK, FAINT = "#fbfbf9", "#24262b", "#d4d6da"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#007a5a", "#a8518a", "#5d6168"
_LINES: Final = (BLUE, ORANGE, GREEN, PURPLE, INK)
_DASHES: Final[tuple[str | tuple[int, tuple[int, ...]], ...]] = ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)))
_PIXELS_PER_INCH: Final = 200  # twice what is shown: sharp on a dense screen
_FADING: Final = 5
_BESIDE: Final = 0.69
_UNKNOWN = "\N{WHITE SQUARE}"


@dataclass(frozen=True)
class Style:
    """How one line among many is drawn; no two look alike even without colour."""

    color: str
    linestyle: str | tuple[int, tuple[int, ...]]
    marker: str


def new_figure(height: float = 4.0) -> "Figure":
    """An empty card, `height` inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=_PIXELS_PER_INCH, facecolor=CARD)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return figure


def axes(figure: "Figure", place: int = 1, places: int = 1) -> "Axes":
    """Axes in the `place`-th of `places` rows of the card."""
    drawn = figure.add_subplot(places, 1, place)
    drawn.set_facecolor(CARD)
    drawn.set_axisbelow(True)
    drawn.grid(color=FAINT, linewidth=0.6)
    drawn.tick_params(colors=GREY, labelcolor=INK, labelsize=9, length=3)
    for side, spine in drawn.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(GREY)
    return drawn


def set_labels(figure: "Figure", drawn: "Axes", title: str, across: str, up: str) -> None:
    """Say what was found and what the axes are, in text that is plain()."""
    figure.suptitle(title, color=INK, fontsize=11, fontweight="bold", x=0.02, ha="left")
    drawn.set_xlabel(across, color=INK, fontsize=10)
    drawn.set_ylabel(up, color=INK, fontsize=10)


def legend(drawn: "Axes", title: str | None = None, *, beside: bool = False) -> None:
    """Explain the lines: where the axes have most room, or beside a square."""
    looks = {"fontsize": 9, "labelcolor": INK, "facecolor": CARD, "edgecolor": FAINT, "handlelength": 3}
    if beside:
        made = drawn.figure.legend(title=title, loc="center left", bbox_to_anchor=(_BESIDE, 0.5), **looks)
        made.get_title().set(color=INK, fontsize=9)
    else:
        drawn.legend(loc="best", **looks)


def thousands(axis: "Axis") -> None:
    """Write the axis's numbers as people do: 25,000."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def colormap() -> "Colormap":
    """From nearly white to dark; few, as each needs its place in a PNG's palette."""
    from matplotlib import colormaps

    return colormaps["Blues"].resampled(10)


def square_card() -> tuple["Figure", "Axes"]:
    """A card with square axes that both run from 0 to 1, and room for a legend beside them."""
    figure = new_figure(4.6)
    figure.set_layout_engine("none")  # which would cut the label of a square with something beside it
    drawn = axes(figure)
    drawn.set_position((0.115, 0.125, 0.775 * 4.6 / WIDTH, 0.775))
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    drawn.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks)
    return figure, drawn


def styles(count: int) -> Sequence[Style]:
    """As many different styles, up to twenty-five."""
    markers = (mark for mark in ("", "o", "s", "^", "D") for _ in _LINES)
    triples = zip(cycle(_LINES), cycle(_DASHES), markers, strict=False)
    return [Style(*one) for one in islice(triples, count)]


def plain(text: str, length: int = 44) -> str:
    """Somebody's text as matplotlib can show it: one line, no formula, a square for what the font does not have."""
    shown = "".join(char if char.isprintable() else " " for char in text).strip() or "(no name)"
    cut = shown if len(shown) <= length else shown[: length - 1] + "…"
    return "".join(char if _drawable(char) else _UNKNOWN for char in cut).replace("$", r"\$")


def png(figure: "Figure") -> bytes:
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

    new_figure = np.array(to_rgb(CARD))
    fading = [
        new_figure + part * (np.array(to_rgb(color)) - new_figure)
        for color in (INK, BLUE, ORANGE, GREEN, PURPLE, GREY, FAINT)
        for part in np.linspace(0, 1, _FADING + 1)[1:]
    ]
    ramp = colormap()
    levels = np.array([new_figure, *fading, *(ramp(level)[:3] for level in range(ramp.N))])
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * levels).round().astype(int).ravel().tolist())
    return palette


@cache
def _drawable(char: str) -> bool:
    """Whether the fonts of labels and of titles have it; matplotlib would warn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = (get_font(findfont(FontProperties(weight=weight))) for weight in ("normal", "bold"))
    return all(font.get_char_index(ord(char)) for font in fonts)
