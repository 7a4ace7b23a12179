"""The tables of `docs/results/training-speed.md`: written from the recorded figures, never by hand.

The table of a part stands between the lines `<!-- figures: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.training.part import Part, line

PLACE = Path(__file__).parents[2] / "docs" / "results" / "training-speed.md"


def with_tables(text: str, parts: Iterable[Part], recorded: Mapping[str, Figure]) -> str:
    """The page with the table of every part that has figures.

    Raises:
        ValueError: the page lacks the lines for a part's table.
    """
    for part in parts:
        figures = [figure for name, figure in recorded.items() if name.startswith(part.named(""))]
        if figures:
            text = _with_table(text, part, figures)
    return text


def _with_table(text: str, part: Part, figures: list[Figure]) -> str:
    begin, end = f"<!-- figures: {part.name} -->\n", "<!-- end -->"
    machine = " and ".join(dict.fromkeys(f"{figure['hardware']}, {figure['at']}" for figure in figures))
    rows = "\n".join([machine, "", *map(line, figures)])
    block = f"{begin}```\n{rows}\n```\n{end}"
    written, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _match: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PLACE}: expected one pair of the lines {begin.strip()} and {end}, got {count}")
    return written
