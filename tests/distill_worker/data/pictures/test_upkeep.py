"""Listing, verifying and deleting stores of decoded images."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_worker.cli.command import app
from distill_worker.data.pictures.places import lock
from distill_worker.data.pictures.upkeep import prune, stores_in, verify
from distill_worker.errors import CheckFailed, DataError
from tests.distill_worker.data.datasets.files import pixels, write_png
from tests.distill_worker.data.pictures.test_store import COUNT, opened, photos, shown


def _is_silent(_done: int) -> None:
    """Nothing is shown."""


def test_store_is_listed_with_what_it_holds(tmp_path: Path) -> None:
    opened(photos(tmp_path))
    [store] = stores_in(tmp_path / "decoded")
    assert (store.data, store.images, store.image_shape) == (tmp_path / "photos", COUNT, (3, 8, 8))
    assert store.bytes > COUNT * 3 * 8 * 8
    assert store.is_needed


def test_no_store_is_no_error(tmp_path: Path) -> None:
    assert stores_in(tmp_path / "decoded") == []


def test_store_of_a_process_that_was_killed_at_its_beginning_is_named_and_used_again(tmp_path: Path) -> None:
    opened(photos(tmp_path))
    [about] = (tmp_path / "decoded").glob("*/about.json")
    about.write_bytes(b"")
    with pytest.raises(DataError, match=r"^data.store: .* if the store is damaged, delete it"):
        stores_in(tmp_path / "decoded")
    opened(tmp_path)
    assert stores_in(tmp_path / "decoded")[0].images == COUNT


def test_whole_store_is_verified_and_stays(tmp_path: Path) -> None:
    opened(photos(tmp_path))
    [store] = stores_in(tmp_path / "decoded")
    counts = list[int]()
    result = verify(store, counts.append)
    assert (result.whole, result.damaged) == (COUNT, [])
    assert counts == list(range(1, COUNT + 1))
    with shown() as said:
        opened(tmp_path)
    assert not said.counts


def test_file_that_changed_under_the_same_size_and_time_is_damaged(tmp_path: Path) -> None:
    """What no other command notices. The next one decodes it again."""
    photo = photos(tmp_path) / "photos" / "03.png"
    before = opened(tmp_path).train.keys
    status, content = photo.stat(), photo.read_bytes()
    for seed in range(20, 60):
        write_png(photo, pixels(seed, 8, 8, 3))
        if photo.stat().st_size == status.st_size and photo.read_bytes() != content:
            break
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert opened(tmp_path).train.keys == before
    [store] = stores_in(tmp_path / "decoded")
    assert verify(store, _is_silent).damaged == [str(photo)]
    assert opened(tmp_path).train.keys != before


@pytest.mark.parametrize("lost", ["file", "pixels"])
def test_lost_file_and_flipped_bits_are_damages(lost: str, tmp_path: Path) -> None:
    photo = photos(tmp_path) / "photos" / "03.png"
    opened(tmp_path)
    [store] = stores_in(tmp_path / "decoded")
    if lost == "file":
        photo.unlink()
    else:
        [kept] = store.folder.glob("*.u8")
        with kept.open("r+b") as file:
            file.seek(3 * 3 * 8 * 8 + 5)
            [value] = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([value ^ 1]))
    assert verify(store, _is_silent).damaged == [str(photo)]
    if lost == "pixels":
        assert opened(tmp_path).train.keys == opened(tmp_path, keeps=False).train.keys


def test_only_stores_of_folders_that_are_gone_are_deleted(tmp_path: Path) -> None:
    for name in ("gone", "there"):
        opened(photos(tmp_path / name), stores=tmp_path / "decoded")
    (tmp_path / "gone" / "photos").rename(tmp_path / "elsewhere")
    [pruned] = prune(tmp_path / "decoded", needed_too=False)
    assert pruned.data == tmp_path / "gone" / "photos"
    assert [store.data for store in stores_in(tmp_path / "decoded")] == [tmp_path / "there" / "photos"]
    assert len(prune(tmp_path / "decoded", needed_too=True)) == 1
    assert stores_in(tmp_path / "decoded") == []


def test_store_in_use_is_left(tmp_path: Path) -> None:
    opened(photos(tmp_path))
    [store] = stores_in(tmp_path / "decoded")
    with lock(store.folder):
        assert prune(tmp_path / "decoded", needed_too=True) == []
    assert store.folder.exists()


def test_commands_list_verify_and_delete(tmp_path: Path) -> None:
    photo = photos(tmp_path) / "photos" / "03.png"
    opened(tmp_path)
    store = str(tmp_path / "decoded")
    result = CliRunner().invoke(app, ["data", "show", "--store", store, "--json"])
    assert [(one["images"], one["is_needed"]) for one in json.loads(result.stdout)] == [(COUNT, True)]
    assert "1 store, 0.00 GB" in CliRunner().invoke(app, ["data", "show", "--store", store]).stdout
    photo.unlink()
    result = CliRunner().invoke(app, ["data", "verify", "--store", store])
    assert f"whole: {COUNT - 1} images; damaged: 1" in result.stdout
    assert str(photo) in result.stdout
    assert isinstance(result.exception, CheckFailed)
    assert "0 stores" in CliRunner().invoke(app, ["data", "prune", "--store", store]).stdout
    assert "1 store" in CliRunner().invoke(app, ["data", "prune", "--all", "--store", store]).stdout
