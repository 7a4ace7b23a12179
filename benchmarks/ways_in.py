"""The four ways in, walked as their pages say, from a new clone, and timed.

`python -m benchmarks.ways_in FOLDER [--into docs/results/ways-in.md]` clones this repository into FOLDER, which must be
new, and runs `make demo`, which installs everything; then the commands of docs/serve-your-model.md, those of
docs/folder.md, and the first code of docs/python.md. Only the places are changed: the teacher's URL, and where the
files of the user would be. What a person types and reads takes no time here.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.tables_page import with_tables

ROOT: Final = Path(__file__).parents[1]
_URL: Final = "https://teacher.example.org"
_OWN: Final = {
    "model": """
import torch, torchvision
from PIL import Image
from sklearn.datasets import load_sample_image
torch.save(torchvision.models.resnet50().state_dict(), "my.pth")
names = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
open("names.txt", "w").write("\\n".join(names))
Image.fromarray(load_sample_image("flower.jpg")).save("photo.jpg")
""",
    "folder": """
from pathlib import Path
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
for number, image in enumerate(load_digits().images[:1000]):
    folder = Path("photos" if number < 990 else "new-photos")
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.rint(image * (255 / 16)).astype("uint8")).save(folder / f"{number:04}.png")
""",
}
"""What the user has: made before the clock starts."""


def walk(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Each step: the way in, what was run, and the seconds that it took."""
    clone = folder / "tuition"
    yield "demo", "git clone", _timed(["git", "clone", "--quiet", str(ROOT), str(clone)], folder, os.environ)
    yield "demo", "make demo (installs everything)", _timed(["make", "demo"], clone, os.environ)
    search_path = f"{clone / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": search_path, "no_proxy": "127.0.0.1"}
    for name, code in _OWN.items():
        (folder / name).mkdir()
        _timed(["python", "-c", code], folder / name, environment)
    script = _block(clone / "docs" / "serve-your-model.md", "sh")
    yield "model", _counted(script), _timed(["sh", "-euc", script], folder / "model", environment)
    (teacher,) = clone.glob("runs/**/teacher/student.safetensors")
    with _served(teacher, clone / ".venv/bin/python", folder) as (url, key):
        buying = {**environment, "TEACHER_API_KEY": key}
        for command in _block(clone / "docs" / "folder.md", "sh").splitlines():
            words = [word.replace(_URL, url) for word in shlex.split(command)]
            if words[0] != "export":
                yield "folder", " ".join(words[:2]), _timed(words, folder / "folder", buying)
        page = (clone / "docs" / "python.md").read_text(encoding="utf-8")
        data, loop = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]
        (folder / "loop.py").write_text(data + loop.replace(_URL, url), encoding="utf-8")
        yield "loop", f"{_counted(loop, 'line')} of Python", _timed(["python", "loop.py"], folder, buying)


def _block(page: Path, language: str) -> str:
    """The first block of a page in this language, a command a line."""
    (block, *_) = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return re.sub(r" \\\n\s*", " ", str(block)).strip()


def _counted(block: str, unit: str = "command") -> str:
    return f"{len([line for line in block.splitlines() if line.strip()])} {unit}s"


def _timed(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """The seconds of a command; what it leaves running is ended. Raises `CalledProcessError` if it fails."""
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, stdout=sys.stderr) as process:
        try:
            status = process.wait()
            seconds = time.perf_counter() - started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    if status:
        raise subprocess.CalledProcessError(status, command)
    return seconds


@contextmanager
def _served(weights: Path, python: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """A service of this teacher, with a key for 400 samples: its URL and the key."""
    code = f"""
import teacher_service
with teacher_service.serve({str(weights)!r}, quota=700) as teacher:
    print(teacher.url, teacher.api_key, flush=True)
    input()
"""
    with subprocess.Popen(
        [python, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - both are pipes
        url, key = process.stdout.readline().split()
        yield url, key
        process.stdin.write("\n")


def main() -> None:
    """Read the arguments, walk, print the table or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, metavar="PAGE", help="the page whose table to replace")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    rows = ["| way in | what was run | seconds |", "|---|---|---|"]
    for way, what, seconds in walk(options.folder.resolve()):
        rows.append(f"| {way} | {what} | {seconds:.0f} |")
        print(rows[-1], file=sys.stderr)
    table = "\n".join(rows)
    if options.into is None:
        print(table)
    else:
        options.into.write_text(with_tables(options.into.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
