"""Tar files as WebDataset packs them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels

IMAGES = pixels(0, 6, 8, 8, 3)
LABELS = [2, 0, 1, 1, 0, 2]


def _png(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _tar(path: Path, members: Mapping[str, bytes], mode: str = "w:") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def _samples(rows: range | list[int], *, label: str = "cls") -> dict[str, bytes]:
    """Samples as they are packed: an image, a label, and a file that is not read."""
    return {
        name: content
        for row in rows
        for name, content in {
            f"a/{row:04}.jpg.PNG": _png(IMAGES[row]),
            f"a/{row:04}.{label}": f"{LABELS[row]}\n".encode(),
            f"a/{row:04}.json": b"{}",
        }.items()
    }


@pytest.mark.parametrize("label", ["cls", "label"])
def test_parts_are_the_shards_that_begin_with_their_names(label: str, tmp_path: Path) -> None:
    _tar(tmp_path / "data" / "train-000001.tar", _samples([2, 3], label=label))
    _tar(tmp_path / "data" / "train-000000.tar", _samples([0, 1], label=label))
    _tar(tmp_path / "data" / "validation-000000.tar", _samples([4, 5], label=label))
    dataset = load_dataset("webdataset", tmp_path, path=tmp_path / "data")
    assert np.array_equal(dataset.train.images.permute(0, 2, 3, 1), IMAGES[:4])
    assert dataset.train.needed_labels.tolist() == LABELS[:4]
    assert np.array_equal(dataset.test.images.permute(0, 2, 3, 1), IMAGES[4:])
    assert dataset.test.needed_labels.tolist() == LABELS[4:]
    assert dataset.train.files is not None
    with dataset.train.files[3].open() as file:
        assert file.read() == _png(IMAGES[3]), "the file that a teacher is sent"


def test_one_tar_is_split_by_key(tmp_path: Path) -> None:
    path = _tar(tmp_path / "all.tar", _samples(range(6)))
    np.savez(tmp_path / "all.npz", images=IMAGES, labels=np.array(LABELS))
    packed = load_dataset("webdataset", tmp_path, path=path)
    plain = load_dataset("npz", tmp_path, path=tmp_path / "all.npz")
    assert np.array_equal(packed.train.images, plain.train.images)
    assert np.array_equal(packed.test.needed_labels, plain.test.needed_labels)


def test_labels_need_not_be_there(tmp_path: Path) -> None:
    members = {name: content for name, content in _samples(range(6)).items() if not name.endswith("cls")}
    path = _tar(tmp_path / "all.tar", members)
    dataset = load_dataset("webdataset", tmp_path, path=path, labels="none", class_names=("a", "b"))
    assert np.array_equal(dataset.train.images.permute(0, 2, 3, 1), IMAGES)
    with pytest.raises(
        DataError, match=r"expected a label of each sample, as .cls or .label, got none of 6 of 6: .*'none'"
    ):
        load_dataset("webdataset", tmp_path, path=path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "expected samples, got none"),
        ({"a.cls": b"1"}, "expected an image of each sample, .* got none of 1: .*a.cls"),
        ({"a.png": b"", "a.jpg": b""}, "expected one image of each sample, got several of .*a.png"),
        ({"a.png": b"none", "a.cls": b"0"}, "a.png: expected a picture, got an unreadable file"),
    ],
)
def test_tar_of_other_content_is_explained(members: Mapping[str, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"webdataset: .*{message}"):
        load_dataset("webdataset", tmp_path, path=_tar(tmp_path / "one.tar", members))


def test_links_and_damaged_members_are_never_passed_over(tmp_path: Path) -> None:
    path = _tar(tmp_path / "links.tar", _samples(range(6)))
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("a/9999.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a/0000.jpg.PNG"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"expected files in .*links.tar, got a link, a/9999.png"):
        load_dataset("webdataset", tmp_path, path=path)
    content = bytearray(_tar(tmp_path / "damaged.tar", _samples(range(6))).read_bytes())
    place = content.index(b"a/0003")
    content[place + 100 : place + 110] = b"x" * 10
    (tmp_path / "damaged.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"got .*damaged.tar \(its members end at byte [\d,]+, which is damaged\)"):
        load_dataset("webdataset", tmp_path, path=tmp_path / "damaged.tar")


def test_compressed_or_damaged_tar_is_explained(tmp_path: Path) -> None:
    for path in (_tar(tmp_path / "a.tar", _samples(range(6)), "w:gz"), tmp_path / "b.tar"):
        path.touch()
        content = path.read_bytes() or b"nothing"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"expected tar files without compression, got .*unpack or write it again"):
            load_dataset("webdataset", tmp_path, path=path)
    with pytest.raises(DataError, match=r"expected a tar file or a folder of them, got neither"):
        load_dataset("webdataset", tmp_path, path=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected a file or a folder with files \*.tar, got none"):
        load_dataset("webdataset", tmp_path, path=tmp_path / "empty")
