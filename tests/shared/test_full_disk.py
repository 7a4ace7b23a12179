"""A full disk: each file that is written atomically stays as it was, and no half file keeps the disk full.

The limit of a file's size stands for the full disk, in a process of its own.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FILLED = """
import resource, sys
from pathlib import Path

folder = Path(sys.argv[1])

def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

"""
_PLAIN = """
from shared.atomic_file import create_private_file, write_atomically

write_atomically(folder / "file", b"old")
fill()
for write in (write_atomically, create_private_file):
    try:
        write(folder / ("file" if write is write_atomically else "key"), bytes(5000))
    except OSError as error:
        print(error.strerror)
"""
_CACHE = """
import numpy as np
from distill_worker.cache import Cache
from distill_worker.cache.exchange.export_import import export
from distill_worker.errors import CacheError
from shared.sample_key import sample_keys
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.distill_worker.purchases import carry_out

images = np.random.default_rng(0).integers(0, 256, (400, 1, 2, 2), dtype=np.uint8)
with Cache(folder / "file") as cache:
    carry_out(FakeTeacher(), cache, dict(zip(sample_keys(images), images)))
    fill()
    for name in ("new.safetensors", "new.parquet"):
        try:
            export(cache, folder / name)
        except CacheError as error:
            print(error)
"""
_SELECTION = """
from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError
from distill_worker.runs.sampling.saved_selections import SavedSelection, SavedSelections

saved = SavedSelections(folder, RunIdentity({}, changed={}))
(folder / "file").write_bytes(b"old")
fill()
try:
    saved.write(SavedSelection(round=1, strategy="random", seed=0, of={}, keys=("00",) * 5000))
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("program", "messages"), [(_PLAIN, 2), (_CACHE, 2), (_SELECTION, 1)], ids=["files", "exports", "selections"]
)
def test_full_disk_is_reported_in_one_line_and_no_half_file_stays(tmp_path: Path, program: str, messages: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _FILLED + program, str(tmp_path)], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("File too large") == messages == ended.stdout.count("\n")
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("file")}
    assert left == set()
    assert (tmp_path / "file").exists()
