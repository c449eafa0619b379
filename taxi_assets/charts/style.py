"""The look of all charts, and figures as PNG or SVG.

The background is opaque and light, so that a chart is readable on a page of any theme. The palette is that of Okabe and
Ito, whose colors people with any kind of color vision can tell apart.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO, StringIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS: Mapping[str, str] = MappingProxyType(
    {"yellow": "#e69f00", "green": "#009e73", "fhv": "#0072b2", "fhvhv": "#aa4499"}
)
"""The color of the bars and lines for the trips of each color."""

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "yellow": "Yellow taxi trips",
        "green": "Green taxi trips",
        "fhv": "For-hire vehicle trips (fhv)",
        "fhvhv": "High-volume for-hire trips (fhvhv)",
    }
)
"""What the trips of each color are called in titles."""

WIDTH = 5.2
"""The width of a chart in inches. On a phone, an SVG of this width is still readable."""

SEQUENCE = "YlGnBu"
"""matplotlib's name of the colors for a range of counts, from light to dark."""

_SHARP_DPI = 200
"""The resolution of a PNG that a page shows at half its size, so that it is sharp on screens of many pixels."""

PLAIN_DPI = 130
"""The resolution of a PNG that a page shows at its size, as Dagster's UI does in a dialog of 640 pixels or more."""

_MAX_PNG_BYTES = 100_000
"""Maximum size of a PNG. Dagster keeps images in its database, and loads all of them with the page of an asset."""

_TEXT, _LINES = "#333333", "#d0d0d0"

_TITLE_SIZE = 9.5

_RULES: Mapping[Any, Any] = MappingProxyType(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": _LINES,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.labelcolor": _TEXT,
        "axes.labelsize": 9,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": _TEXT,
        "axes.titlelocation": "left",
        "axes.titlesize": _TITLE_SIZE,
        "axes.titleweight": "bold",
        "figure.facecolor": "white",
        "font.sans-serif": ["DejaVu Sans", "sans-serif"],
        "font.size": 9,
        "grid.color": "#ebebeb",
        "svg.fonttype": "none",
        "text.color": _TEXT,
        "text.parse_math": False,
        "xtick.color": _TEXT,
        "xtick.labelsize": 8.5,
        "ytick.color": _TEXT,
        "ytick.labelsize": 8.5,
    }
)


@contextmanager
def drawing(height: float, panels: int = 1, columns: int = 1) -> Iterator[tuple["Figure", list["Axes"]]]:
    """Yield a new figure of `height` inches and its panels. What is drawn in the block has the look of all charts."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(dict(_RULES)):
        figure = Figure((WIDTH, height), layout="constrained")
        grid = figure.subplots(-(-panels // columns), columns, squeeze=False)
        axes = list(grid.flat)
        for unused in axes[panels:]:
            unused.remove()
        yield figure, axes[:panels]


def separate_thousands(axes: "Axes") -> None:
    """Show the numbers of the vertical axis with thousands separators."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def set_wide_title(figure: "Figure", title: str) -> None:
    """Set a title that starts at the left edge of the figure, for a panel with long labels."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=_TITLE_SIZE, fontweight="bold")


def show_dates(axes: "Axes") -> None:
    """Show few dates on the horizontal axis, each as short as its neighbors allow."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    formatter.formats[_DAYS] = formatter.zero_formats[_DAYS] = "%b %d"
    formatter.offset_formats[_DAYS] = "%Y"
    axes.xaxis.set_major_formatter(formatter)


_DAYS = 2
"""The place of the format of days in the lists of a ConciseDateFormatter."""


def to_png(figure: "Figure", resolution: int = _SHARP_DPI) -> bytes:
    """Return the figure as a PNG of less than 100 kB. The resolution, in dots per inch, is lower if that is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for dpi in (resolution, resolution * 3 // 4, resolution // 2, resolution // 3):
        buffer = BytesIO()
        with _saving():
            FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi, pil_kwargs={"optimize": True})
        image = _few_colors(buffer.getvalue())
        if len(image) < _MAX_PNG_BYTES:
            break
    return image


def _few_colors(image: bytes) -> bytes:
    """Return a PNG with a palette of 256 colors, which takes a third of the bytes."""
    from PIL import Image

    buffer = BytesIO()
    with Image.open(BytesIO(image)) as original:
        original.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def to_svg(figure: "Figure", name: str) -> str:
    """Return the figure as an `<svg>` element for a page, on which `name` is unique.

    It fits the width of the element that contains it.
    """
    buffer = StringIO()
    with _saving(name):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    # Nothing refers to the groups, and each figure gives them the same IDs.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)


@contextmanager
def _saving(salt: str = "chart") -> Iterator[None]:
    """Apply the look of the charts while a figure is saved. The same figure and salt give the same bytes."""
    from matplotlib import rc_context

    with rc_context({**_RULES, "svg.hashsalt": salt}):
        yield
