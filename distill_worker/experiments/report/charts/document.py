"""A chart as an SVG file for a document: by itself it follows the light or dark setting of the reader.

A document shows it as an image, which sees none of the document's colours. So it has its own background, and is legible
on both.
"""

import re
from html import escape
from importlib.resources import files
from typing import Final

from distill_worker.experiments.report.charts.chart import Chart, themed

_ROOT: Final = re.compile(r":root \{(.*?)\n *\}", re.DOTALL)
_FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif'
_PIXELS: Final = 96
"""In an inch."""


def document_svg(chart: Chart) -> str:
    """The file."""
    light, dark, *_ = _ROOT.findall(_stylesheet())
    style = (
        f"<style>svg {{ {_colours(light)} font-family: {_FONT}; }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {_colours(dark)} }} }}</style>"
    )
    width, height = (round(_PIXELS * inches) for inches in chart.figure.get_size_inches())
    element = themed(chart.svg.decode(), chart.name)
    opening, rest = element.split(">", 1)
    return (
        f'{opening} width="{width}" height="{height}" role="img" aria-label="{escape(chart.title)}">{style}'
        f'<rect width="100%" height="100%" rx="6" fill="var(--paper)"/>{rest.rstrip()}\n'
    )


def _stylesheet() -> str:
    return (files("distill_worker.experiments.report") / "templates" / "style.css").read_text(encoding="utf-8")


def _colours(block: str) -> str:
    """The colours among the variables of a block."""
    return " ".join(re.findall(r"--[\w-]+: #[0-9a-f]+;", block))
