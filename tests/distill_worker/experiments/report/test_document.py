"""A chart as a file for documents follows the reader's light or dark setting by itself."""

import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from distill_worker.experiments.report.charts.chart import INK, SERIES, drawn
from distill_worker.experiments.report.charts.document import document_svg


def _draw(figure: Figure) -> None:
    figure.add_subplot().plot([1, 2], [3, 5], color=SERIES[0].color, label="a < b & c")


CHART = drawn("example", 'of "a" < b', "", _draw)
FILE = document_svg(CHART)


def test_every_colour_is_a_variable_with_a_light_and_a_dark_value() -> None:
    """A name that the style does not define would be drawn black."""
    used = set(re.findall(r"var\((--[\w-]+)\)", FILE))
    assert {"--ink", "--paper", "--series-1"} <= used
    light, dark = (set(re.findall(r"(--[\w-]+):", part)) for part in FILE.partition("</style>")[0].split("@media"))
    assert used <= light
    assert used <= dark
    assert INK not in FILE.partition("</style>")[2]


def test_file_is_whole_and_names_itself() -> None:
    """It is XML on its own, has a size and a background, and its title is read aloud."""
    root = ET.fromstring(FILE)  # noqa: S314 - it is our own
    assert root.attrib["aria-label"] == 'of "a" < b'
    assert float(root.attrib["width"]) > float(root.attrib["height"]) > 0
    background = root.find("{http://www.w3.org/2000/svg}rect")
    assert background is not None
    assert background.attrib["fill"] == "var(--paper)"


def test_same_data_give_the_same_bytes() -> None:
    assert document_svg(drawn("example", 'of "a" < b', "", _draw)) == FILE
