"""Files, caches and disks with which a run fails."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_worker.cache import Cache
from tests.end_to_end.fault_bench import Bench, Plant


def unlabelled(folder: Path, *, samples: int) -> None:
    """Write grey images of 8 x 8."""
    folder.mkdir(parents=True)
    for number in range(samples):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def unreadable_image(bench: Bench) -> Mapping[str, Any]:
    for name in ("ant", "bee"):
        unlabelled(bench.folder / "photos" / name, samples=4)
    (bench.folder / "photos" / "bee" / "broken.png").write_bytes(b"no picture")
    return {"data.name": "image-folder", "data.path": str(bench.folder / "photos")}


def arrays(*shape: int, classes: int = 10) -> Plant:
    def write(bench: Bench) -> Mapping[str, Any]:
        draw, arrays = np.random.default_rng(0), dict[str, Any]()
        for split, samples in (("train", 40), ("test", 20)):
            arrays[f"{split}_images"] = draw.integers(0, 256, (samples, *shape), dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(samples) % classes
        np.savez(bench.folder / "data.npz", **arrays)
        return {"data.name": "npz", "data.path": str(bench.folder / "data.npz")}

    return write


def damaged_cache(bench: Bench) -> Mapping[str, Any]:
    (bench.folder / "cache.sqlite").write_bytes(b"spoiled" * 1000)
    return {}


def later_cache(bench: Bench) -> Mapping[str, Any]:
    with Cache(bench.folder / "cache.sqlite"):
        pass
    with sqlite3.connect(bench.folder / "cache.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    return {}


def no_leases(bench: Bench) -> Mapping[str, Any]:
    """The folder for the leases of buyers cannot be made."""
    with Cache(bench.folder / "cache.sqlite"):
        pass
    (bench.folder / "cache.sqlite.buyers").write_text("")
    return {}


def _mounted(bench: Bench, options: str) -> Path:
    """A disk of its own. Only root may mount one."""
    place = bench.folder / "disk"
    place.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None:
        pytest.skip("this machine cannot mount a disk")
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "none", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user may not mount a disk")
    bench.stack.callback(lambda: subprocess.run([unmount, place], check=True))
    return place


def read_only(bench: Bench) -> Mapping[str, Any]:
    """A folder that cannot be written, not even by root."""
    if os.geteuid() == 0:
        return {"output.directory": str(_mounted(bench, "ro,size=50m") / "run")}
    place = bench.folder / "read-only"
    place.mkdir(mode=0o555)
    return {"output.directory": str(place / "run")}


def full_disk(bench: Bench) -> Mapping[str, Any]:
    place = _mounted(bench, "size=64k")
    (place / "filling").write_bytes(bytes(40_000))
    return {"output.directory": str(place / "run")}
