"""What opening very many small images costs: 300,000 files of 32 x 32, in 300 folders.

`python -m benchmarks.many_files FOLDER` writes them into FOLDER, if they are absent: 1.3 GB. The first command decodes
all; later ones, each in a process of its own, list the files, compare them with what is kept, and choose 500 at random.
A short look (fewer images) is printed and not recorded.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.decoding import alone, opening, options_of, report
from benchmarks.figures import figure

IMAGES, IN_A_FOLDER, RUNS = 300_000, 1_000, 5
_HEAD = b"P6 32 32 255\n"


def write_images(folder: Path, count: int) -> None:
    """Write those folders that are absent."""
    draw = np.random.default_rng(0)
    for first in range(0, count, IN_A_FOLDER):
        part = folder / f"{first // IN_A_FOLDER:04}"
        contents = [draw.bytes(3 * 32 * 32) for _ in range(min(IN_A_FOLDER, count - first))]
        if not part.exists():
            part.mkdir(parents=True)
            for number, content in enumerate(contents):
                (part / f"{number:03}.ppm").write_bytes(_HEAD + content)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, report."""
    options = options_of(arguments, __doc__, IMAGES)
    folder: Path = options.folder / str(options.images)
    write_images(folder / "photos", options.images)
    first = alone(opening, folder, None)
    later = [alone(opening, folder, None) for _ in range(RUNS)]
    figures = [
        figure("decoding", "many_files_first_command_memory", [first[1]], unit="MB", better="lower"),
        figure("decoding", "many_files_opening", [seconds for seconds, _ in later], unit="s", better="lower", target=2),
        figure(
            "decoding", "many_files_memory", [memory for _, memory in later], unit="MB", better="lower", target=1000
        ),
    ]
    report(figures, is_recorded=options.images >= IMAGES)


if __name__ == "__main__":
    main()
