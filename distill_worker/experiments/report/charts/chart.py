"""A chart: an SVG whose colours are the variables of the page, so that it follows light and dark; and as files.

Invariant: the same data give the same bytes.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK: Final = "#1c1e21"
MUTED: Final = "#5c6168"
RULE: Final = "#dddcd6"
POSITIVE: Final = (0x1F, 0x6F, 0xB8)
"""RGB of the cells of a matrix; their opacity is the value. It is legible on light and on dark."""
NEGATIVE: Final = (0xC8, 0x55, 0x0A)
ON_CELL: Final = "#fefefe"
"""Text on a cell of high opacity."""
_PAPER: Final = "#fdfdfb"
"""The background of image files."""


class Stroke(NamedTuple):
    """How one series is drawn: colour, marker and line differ, so no reader needs to tell colours apart."""

    color: str
    marker: str
    line: str


SERIES: Final = (
    Stroke("#0072b2", "o", "-"),
    Stroke("#d55e00", "s", "--"),
    Stroke("#009e73", "^", "-."),
    Stroke("#aa4499", "D", ":"),
    Stroke("#b07d00", "v", (0, (5, 1, 1, 1, 1, 1))),  # type: ignore[arg-type]  # a pattern of dashes
    Stroke("#2f8fc4", "P", (0, (8, 2))),  # type: ignore[arg-type]
    Stroke("#5c4b8a", "X", (0, (3, 2, 1, 2))),  # type: ignore[arg-type]
    Stroke("#7a7a7a", "*", (0, (1, 3))),  # type: ignore[arg-type]
)
"""After Okabe and Ito (2008), its light colours darkened for thin lines on white."""
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    **{stroke.color: f"var(--series-{number})" for number, stroke in enumerate(SERIES, 1)},
}
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
_SIZE: Final = (4.6, 3.0)
PLAIN: Final = FuncFormatter(lambda value, _position: f"{value:,.10g}")
"""Numbers on a logarithmic axis, without powers of ten."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart."""

    name: str
    """The name of its files, and of its ids in a page."""
    title: str
    finding: str
    """What it shows, in a sentence."""
    figure: Figure

    @property
    def is_wide(self) -> bool:
        """Whether it needs the whole width of a page."""
        return bool(self.figure.get_figwidth() > _SIZE[0])

    @property
    def svg(self) -> bytes:
        """An SVG file, in the colours of the light page."""
        return self._saved("svg", metadata={"Date": None, "Creator": None})

    @property
    def png(self) -> bytes:
        """A PNG file."""
        return self._saved("png", dpi=200, facecolor=_PAPER, metadata={"Software": None})

    @property
    def inline(self) -> Markup:
        """The SVG element for a page. matplotlib has escaped its texts."""
        return Markup(themed(self.svg.decode(), self.name))  # noqa: S704

    def _saved(self, file_format: str, **options: Any) -> bytes:
        content = BytesIO()
        with _drawing(self.name):
            self.figure.savefig(content, format=file_format, **options)
        return content.getvalue()


def drawn(
    name: str, title: str, finding: str, draw: Callable[[Figure], None], *, size: tuple[float, float] = _SIZE
) -> Chart:
    """Draw a chart. `draw` gets an empty figure of `size` inches; the style of all charts is set meanwhile."""
    with _drawing(name):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
    return Chart(name, title, finding, figure)


def shortened(text: str, length: int = 24) -> str:
    """A text that fits beside an axis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


@contextmanager
def _drawing(name: str) -> Iterator[None]:
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's fonts draw the texts, not the one that they are measured with.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def themed(svg: str, name: str) -> str:
    """The SVG element of a chart's file in the variables of a page, and with ids that no other chart of it has.

    The page sets colours, font and width.
    """
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element)
    element = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", element)
    element = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", element)
    return re.sub("|".join(_VARIABLES), lambda color: _VARIABLES[color[0]], element)
