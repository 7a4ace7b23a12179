"""The store of image files: what is decoded when, through changes of the folder and real kills."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset, Split
from distill_worker.data.pictures import store
from distill_worker.data.pictures.display import DISPLAY, Display
from distill_worker.data.pictures.index import Index
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels, write_png

ROOT = Path(__file__).parents[4]
COUNT = 10
_OPENED = """
import os, signal, sys
from pathlib import Path
from distill_worker.data.pictures import filling
from tests.distill_worker.data.pictures.test_store import opened, shown
filling._COMMIT_BYTES = 3 * 8 * 8 * 3
def end(done):
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
with shown(end) as said:
    opened(Path(sys.argv[1]))
print(said.titles.count("decoding images"), said.decoded)
"""


class Said(NamedTuple):
    """What a display got."""

    titles: list[str]
    lines: list[str]
    counts: list[int]

    @property
    def decoded(self) -> int:
        """How many images were decoded."""
        return max(self.counts, default=0)


@contextmanager
def shown(on_decoded: Callable[[int], None] = lambda _done: None) -> Iterator[Said]:
    """What the display gets while the block runs."""
    said = Said([], [], [])

    @contextmanager
    def bar(title: str, _total: int) -> Iterator[Callable[[int], None]]:
        said.titles.append(title)

        def move(done: int) -> None:
            if title == "decoding images":
                said.counts.append(done)
                on_decoded(done)

        yield move

    token = DISPLAY.set(Display(said.lines.append, bar))
    try:
        yield said
    finally:
        DISPLAY.reset(token)


def photos(folder: Path, count: int = COUNT, *, seed: int = 0, size: int = 8) -> Path:
    """Write them into `folder/photos`; returns the folder."""
    for number, values in enumerate(pixels(seed, count, size, size, 3)):
        write_png(folder / "photos" / f"{number:02}.png", values)
    return folder


def opened(
    folder: Path, image_size: tuple[int, int] | None = None, *, keeps: bool = True, stores: Path | None = None
) -> Dataset:
    """The folder's photos, without labels; decoded into memory unless `keeps`."""
    return load_dataset(
        "image-folder",
        folder,
        path=folder / "photos",
        image_size=image_size,
        labels="none",
        class_names=("cat", "dog"),
        store=(stores or folder / "decoded") if keeps else None,
    )


def _assert_as_in_memory(folder: Path, image_size: tuple[int, int] | None = None) -> Dataset:
    kept, in_memory = opened(folder, image_size), opened(folder, image_size, keeps=False)
    assert_same(kept, in_memory)
    return kept


def assert_same(kept: Dataset, in_memory: Dataset) -> None:
    """Every field is the same, and what is computed from the pixels."""
    assert (kept.mean, kept.std, kept.class_names) == (in_memory.mean, in_memory.std, in_memory.class_names)
    for ours, theirs in ((kept.train, in_memory.train), (kept.test, in_memory.test)):
        assert torch.equal(ours.images, theirs.images)
        assert (ours.labels is None) == (theirs.labels is None)
        assert ours.labels is None or torch.equal(ours.labels, theirs.needed_labels)
        assert [file.name for file in ours.files or ()] == [file.name for file in theirs.files or ()]
        assert (ours.keys, ours.digest()) == (theirs.keys, theirs.digest())


def _is_mapped(split: Split) -> bool:
    return split.stored is not None


def test_images_are_mapped_and_the_same_as_in_memory(tmp_path: Path) -> None:
    kept = _assert_as_in_memory(photos(tmp_path))
    assert _is_mapped(kept.train)


@pytest.mark.parametrize("layout", [("train/cat", "train/dog", "test/cat", "test/dog"), ("cat", "dog")])
def test_labelled_images_are_the_same_as_in_memory(layout: tuple[str, ...], tmp_path: Path) -> None:
    """In parts, and in one folder that is divided by key: its rows are put in the order of the parts."""
    for seed, place in enumerate(layout):
        for number, values in enumerate(pixels(seed, COUNT, 8, 8, 3)):
            write_png(tmp_path / "photos" / place / f"{number}.png", values)

    def load(keeps: Path | None) -> Dataset:
        return load_dataset("image-folder", tmp_path, path=tmp_path / "photos", store=keeps)

    kept = load(tmp_path / "decoded")
    assert_same(kept, load(None))
    assert _is_mapped(kept.train)
    assert _is_mapped(kept.test)
    with shown() as said:
        load(tmp_path / "decoded")
    assert not said.titles, "nothing is decoded, and no row moves"


def test_test_images_beside_unlabelled_ones_are_the_same_as_in_memory(tmp_path: Path) -> None:
    photos(tmp_path)
    write_png(tmp_path / "photos" / "test" / "dog" / "a.png", pixels(5, 1, 8, 8, 3)[0])
    _assert_as_in_memory(tmp_path)


def test_list_that_names_a_file_twice_is_the_same_as_in_memory(tmp_path: Path) -> None:
    photos(tmp_path)
    listed = tmp_path / "photos" / "list.txt"
    listed.write_text("02.png\n00.png\n02.png\n")

    def load(keeps: Path | None) -> Dataset:
        classes = ("cat", "dog")
        return load_dataset("image-folder", tmp_path, path=listed, labels="none", class_names=classes, store=keeps)

    assert_same(load(tmp_path / "decoded"), load(None))


def test_unchanged_files_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(photos(tmp_path))
    with monkeypatch.context() as patched, shown() as said:
        patched.setattr(Path, "open", lambda path, *_: pytest.fail(f"{path} is opened"))
        assert_same(opened(tmp_path), first)
    assert said == Said([], [], [])


def test_only_what_is_new_or_changed_is_decoded(tmp_path: Path) -> None:
    """One is added between others, one is changed, one is removed."""
    photos(tmp_path)
    opened(tmp_path)
    write_png(tmp_path / "photos" / "04b.png", pixels(7, 1, 8, 8, 3)[0])
    write_png(tmp_path / "photos" / "09.png", pixels(8, 1, 8, 8, 3)[0])
    (tmp_path / "photos" / "01.png").unlink()
    with shown() as said:
        _assert_as_in_memory(tmp_path)
    assert said.decoded == 2
    [pixels_file] = (tmp_path / "decoded").glob("*/*.u8")
    assert pixels_file.stat().st_size == COUNT * 8 * 8 * 3, "rows of files that are gone take no space"


def test_file_that_changed_within_its_size_is_noticed(tmp_path: Path) -> None:
    photo = photos(tmp_path) / "photos" / "03.png"
    before = opened(tmp_path).train.keys
    Image.fromarray(pixels(9, 1, 8, 8, 3)[0]).save(photo)
    os.utime(photo, ns=(0, photo.stat().st_mtime_ns + 1))
    assert [old == new for old, new in zip(before, opened(tmp_path).train.keys, strict=True)].count(False) == 1


def test_images_that_are_in_use_stay_while_the_store_changes(tmp_path: Path) -> None:
    """Another command decodes a changed file and puts the rows in order: neither changes what is mapped."""
    used = opened(photos(tmp_path)).train
    copy = used.images.clone()
    for name in ("09.png", "00a.png"):
        write_png(tmp_path / "photos" / name, pixels(7, 1, 8, 8, 3)[0])
        opened(tmp_path)
    assert torch.equal(used.images, copy)
    assert used.digest() == opened(photos(tmp_path / "again"), keeps=False).train.digest()


@pytest.mark.parametrize("last", [1, 4, COUNT])
def test_killed_process_leaves_what_it_committed(last: int, tmp_path: Path) -> None:
    """It commits every third image here."""
    killed = subprocess.run([sys.executable, "-c", _OPENED, str(photos(tmp_path)), str(last)], check=False, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    with shown() as said:
        _assert_as_in_memory(tmp_path)
    assert said.decoded == COUNT - last // 3 * 3


def test_processes_that_begin_at_once_decode_each_image_once(tmp_path: Path) -> None:
    photos(tmp_path)
    command = [sys.executable, "-c", _OPENED, str(tmp_path), "-1"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    decoded = [int(process.communicate()[0].split()[1]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(decoded) == COUNT
    _assert_as_in_memory(tmp_path)


def test_orders_that_take_turns_never_mix(tmp_path: Path) -> None:
    """With labels the rows have one order, without them another: each reader gets its own while others move rows."""
    for seed, place in enumerate(("cat", "dog")):
        for number, values in enumerate(pixels(seed, COUNT, 8, 8, 3)):
            write_png(tmp_path / "photos" / place / f"{number}.png", values)
    with_labels = partial(load_dataset, "image-folder", tmp_path, path=tmp_path / "photos")
    without = partial(with_labels, labels="none", class_names=("a", "b"))

    def read_often(load: Callable[..., Dataset]) -> None:
        expected = load(store=None)
        for _ in range(15):
            assert_same(load(store=tmp_path / "decoded"), expected)

    with ThreadPoolExecutor() as pool:
        list(pool.map(read_often, [with_labels, without] * 2))


def test_damaged_files_are_named_and_the_others_stay_decoded(tmp_path: Path) -> None:
    photo = photos(tmp_path, size=32) / "photos" / "04.png"
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"04\.png: expected a picture, got an unreadable file"):
        opened(tmp_path)
    photo.write_bytes(whole)
    with shown() as said:
        _assert_as_in_memory(tmp_path)
    assert said.decoded == 1


def test_coloured_image_among_grey_ones_makes_all_of_them_coloured(tmp_path: Path) -> None:
    for number, values in enumerate(pixels(0, COUNT, 8, 8)):
        write_png(tmp_path / "photos" / f"{number}.png", values)
    assert opened(tmp_path).image_shape == (1, 8, 8)
    write_png(tmp_path / "photos" / "colour.png", pixels(1, 1, 8, 8, 3)[0])
    assert _assert_as_in_memory(tmp_path).image_shape == (3, 8, 8)


def test_store_of_an_earlier_version_is_used(tmp_path: Path) -> None:
    first = opened(photos(tmp_path))
    [index] = (tmp_path / "decoded").glob("*/index.sqlite")
    with closing(sqlite3.connect(index)) as connection:
        connection.executescript("drop table firsts; drop table parts;")
    with shown() as said:
        assert_same(opened(tmp_path), first)
    assert not said.titles


def test_data_that_did_not_change_are_opened_without_their_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another list of the same files was opened meanwhile; a change is noticed."""
    first = opened(photos(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(Index, "snapshot", lambda _index: pytest.fail("the entries are read"))
        assert_same(opened(tmp_path), first)
    write_png(tmp_path / "photos" / "04.png", pixels(7, 8, 8, 3))
    _assert_as_in_memory(tmp_path)


def test_array_of_features_is_computed_once_for_each_state_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was cut off is written again; those of older pixels go."""
    monkeypatch.setattr(store, "BATCH_SIZE", 4)
    computed: list[int] = []

    def sums() -> NDArray[np.float32]:
        train = opened(tmp_path).train
        assert train.stored is not None

        def compute(batches: Iterable[torch.Tensor]) -> NDArray[np.float32]:
            read = torch.cat(list(batches))
            computed.append(len(read))
            return _sums(read)

        return train.stored.kept("sums", compute)

    photos(tmp_path)
    for _ in range(2):
        assert np.array_equal(sums(), _sums(opened(tmp_path, keeps=False).train.images))
    assert len(computed) == 1
    [kept] = (tmp_path / "decoded").glob("*/sums-*.npy")
    kept.write_bytes(kept.read_bytes()[:90])
    assert len(sums()) == COUNT
    write_png(tmp_path / "photos" / "00a.png", pixels(7, 8, 8, 3))
    assert np.array_equal(sums(), _sums(opened(tmp_path, keeps=False).train.images))
    assert not kept.exists()
    assert len(computed) == 3


def _sums(images: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = images.flatten(1).float().sum(dim=1, keepdim=True).numpy()
    return found


def test_other_size_is_another_store(tmp_path: Path) -> None:
    photos(tmp_path)
    opened(tmp_path)
    assert _assert_as_in_memory(tmp_path, (4, 6)).image_shape == (3, 4, 6)
    with shown() as said:
        opened(tmp_path)
    assert not said.counts


def test_lost_pixels_are_decoded_again(tmp_path: Path) -> None:
    opened(photos(tmp_path))
    [pixels_file] = (tmp_path / "decoded").glob("*/*.u8")
    pixels_file.unlink()
    _assert_as_in_memory(tmp_path)


def test_name_in_no_encoding_is_a_name(tmp_path: Path) -> None:
    photos(tmp_path)
    photo = tmp_path / "photos" / "00.png"
    photo.rename(os.fsdecode(os.fsencode(photo.parent) + b"/\xff.png"))
    _assert_as_in_memory(tmp_path)


def test_too_little_space_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(DataError, match=r"^data.store: expected 0\.1 GB of free space .*, got 0\.0 GB; free some, or"):
        opened(photos(tmp_path))
    assert not list((tmp_path / "decoded").glob("*/*.u8"))


def test_store_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "decoded").write_text("in the way")
    with pytest.raises(DataError, match=r"^data.store: .* cannot be used .* or set data.store to another folder"):
        opened(photos(tmp_path))


def test_line_says_how_fast_images_were_decoded_and_where_they_are(tmp_path: Path) -> None:
    with shown() as said:
        opened(photos(tmp_path))
    assert f"decoded {COUNT} images in 0 s (" in said.lines[0]
    assert f"images/s); they are kept in {tmp_path / 'decoded' / 'photos-'}" in said.lines[0]
    assert said.titles == ["looking at images", "decoding images"]


def test_statistics_of_no_image_are_computed_from_pixels(tmp_path: Path) -> None:
    """They follow from sums that the index keeps, so that mapping reads no pixel."""
    dataset = opened(photos(tmp_path))
    values = dataset.train.images.double().div(255)
    assert dataset.mean == tuple(np.round(values.mean(dim=(0, 2, 3)).numpy(), 4))
    assert dataset.std == tuple(np.round(values.std(dim=(0, 2, 3), correction=0).numpy(), 4))
