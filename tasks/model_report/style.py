"""The style of the plots: an opaque background for light and dark pages, and colours for colour-blind readers."""

from base64 import b64encode
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.4
"""Width of a figure in inches of 200 pixels; the page shows it at half that resolution."""
SQUARE_HEIGHT = 4.6
BACKGROUND, FOREGROUND, GRID = "#fbfbf9", "#24262b", "#d4d6da"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#007a5a", "#a8518a", "#5d6168"
LINES: list[dict[str, Any]] = [
    {"color": color, "linestyle": dashes}
    for color, dashes in zip(
        (BLUE, ORANGE, GREEN, PURPLE, FOREGROUND), ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2))), strict=True
    )
]
"""Of at most five classes; they can be distinguished without colour."""
STYLE: dict[Any, Any] = {
    "figure.facecolor": BACKGROUND,
    "figure.dpi": 200,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "font.size": 9,
    "text.color": FOREGROUND,
    "text.parse_math": False,
    "axes.facecolor": BACKGROUND,
    "axes.edgecolor": GREY,
    "axes.labelcolor": FOREGROUND,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "xtick.labelcolor": FOREGROUND,
    "ytick.color": GREY,
    "ytick.labelcolor": FOREGROUND,
    "lines.linewidth": 1.8,
    "image.cmap": "Blues",
    "legend.edgecolor": GRID,
    "legend.handlelength": 3,
}
MAX_COLORS = 64
THOUSANDS = "{x:,.10g}"  # 25,000
_UNKNOWN_GLYPH = "\N{WHITE SQUARE}"


def new_figure(title: str, height: float, rows: int = 1) -> tuple["Figure", list["Axes"]]:
    """A figure, `height` inches high, with `rows` axes one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    figure.suptitle(title, x=0.02, ha="left")
    return figure, list(figure.subplots(rows, squeeze=False)[:, 0])


def new_square_figure(title: str, x: str, y: str) -> tuple["Figure", "Axes"]:
    """A figure with square axes from 0 to 1, and room for a legend beside them."""
    figure, [axes] = new_figure(title, SQUARE_HEIGHT)
    figure.set_layout_engine("none")  # the constrained layout would cut the labels
    axes.set_position((0.115, 0.125, 0.775 * SQUARE_HEIGHT / WIDTH, 0.775))
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure, axes


def add_legend_beside(figure: "Figure", title: str | None = None) -> None:
    figure.legend(title=title, loc="center left", bbox_to_anchor=(0.69, 0.5))


def plain_text(text: str, length: int = 44) -> str:
    """Text that matplotlib can draw: one line of at most `length` characters; a square replaces a missing glyph."""
    shown = "".join(char if char.isprintable() else " " for char in text).strip() or "(no name)"
    cut = shown if len(shown) <= length else shown[: length - 1] + "…"
    return "".join(char if _has_glyph(char) else _UNKNOWN_GLYPH for char in cut)


@cache
def _has_glyph(char: str) -> bool:
    """Whether the fonts of labels and titles have a glyph; matplotlib warns if they do not."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = (get_font(findfont(FontProperties(weight=weight))) for weight in ("normal", "bold"))
    return all(font.get_char_index(ord(char)) for font in fonts)


def to_data_url(figure: "Figure") -> str:
    """The figure as a PNG with a palette of MAX_COLORS, a third of the size of a full-colour PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)  # its methods have no annotations
    reduced = BytesIO()
    canvas.draw()  # `savefig` would draw twice, to place the axes first
    drawn = Image.frombytes("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    drawn.quantize(MAX_COLORS, Image.Quantize.FASTOCTREE).save(reduced, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(reduced.getvalue()).decode()}"
