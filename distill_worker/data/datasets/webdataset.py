"""Images in tar files, as WebDataset packs them: the files of a sample lie together and share a name.

Only the heads of a tar's members are read to list them; a picture is read at its place when it is used.
"""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from distill_worker.data.datasets.dataset import Dataset, split_of, unlabelled
from distill_worker.data.datasets.described import described, described_without_labels
from distill_worker.data.datasets.opening import Opening
from distill_worker.data.datasets.own_labels import from_text, own_labels
from distill_worker.data.datasets.parts import shards
from distill_worker.data.datasets.split_by_key import split_by_key
from distill_worker.data.pictures.reading import Picture, common_shape, read_in_parts
from distill_worker.data.pictures.rules import EXTENSIONS, Rules
from distill_worker.errors import DataError

EXTENSION: Final = ".tar"
_LABELS: Final = ("cls", "label")
"""The extensions of the file of a sample that holds its label, as text."""
_MOST_NAMED: Final = 5
_LONGEST_LABEL: Final = 1024


@dataclass
class _Sample:
    """What a tar has of one sample."""

    name: str
    picture: Picture | None = None
    label: str | None = None


def webdataset(opening: Opening) -> Dataset:
    """`train-*.tar` with `test-*.tar`, or else `validation-*.tar`; or tar files of one part, which are split by key.

    Of each sample, the image and the label (`.cls` or `.label`, as text) are read. Random crops have a padding of an
    eighth of the side; images are flipped.

    Raises:
        DataError: a tar cannot be read, or a sample has no label, no image, or several.
    """
    where = f"webdataset: {opening.path}"
    parts = [_samples(files, opening.rules, where) for files in _files(opening.path, where)]
    names = ("labels",) if len(parts) == 1 else ("the labels of train", "the labels of test")
    arrays = {name: from_text(_labels(part, where)) for name, part in zip(names, parts, strict=True)}
    labels = own_labels(arrays, None, where=where)
    pictures = [_pictures(part) for part in parts]
    shape = common_shape([one for part in pictures for one in part], opening.image_size, where=where)
    read = list(zip(read_in_parts(pictures, shape, where=where), labels.parts, pictures, strict=True))
    train, test = split_by_key(*read[0], where=where) if len(read) == 1 else (split_of(*part) for part in read)
    return described(
        "webdataset",
        train,
        test,
        labels.class_names,
        crop_padding=min(shape.height, shape.width) // 8,
        horizontal_flip=True,
        every_class=True,
        where=where,
        notes=labels.notes,
    )


def webdataset_without_labels(opening: Opening, class_names: tuple[str, ...]) -> Dataset:
    """`train-*.tar`, or the tar files of one part; of each sample only the image is read. See `webdataset`."""
    where = f"webdataset: {opening.path}"
    pictures = _pictures(_samples(_files(opening.path, where)[0], opening.rules, where))
    shape = common_shape(pictures, opening.image_size, where=where)
    train = unlabelled(read_in_parts([pictures], shape, where=where)[0], pictures)
    return described_without_labels("webdataset", train, None, class_names, horizontal_flip=True, where=where)


def _files(path: Path, where: str) -> list[list[Path]]:
    if not path.exists():
        raise DataError(f"{where}: expected a tar file or a folder of them, got neither")
    return shards(path, EXTENSION, where=where)


def _samples(files: Sequence[Path], rules: Rules, where: str) -> list[_Sample]:
    samples: list[_Sample] = []
    for path in files:
        try:
            samples += _members(path, rules, where)
        except (OSError, tarfile.TarError) as error:
            raise DataError(
                f"{where}: expected tar files without compression, got {path} ({error}); unpack or write it again"
            ) from error
    if not samples:
        raise DataError(f"{where}: expected samples, got none")
    if without := [sample.name for sample in samples if sample.picture is None]:
        raise DataError(
            f"{where}: expected an image of each sample, as .jpg, .png or another that is read, got none of "
            f"{len(without):,}: {', '.join(without[:_MOST_NAMED])}"
        )
    return samples


def _members(path: Path, rules: Rules, where: str) -> list[_Sample]:
    by_name: dict[str, _Sample] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, file = member.name.rpartition("/")
            name, _, extension = file.partition(".")
            if member.islnk() or member.issym():
                raise DataError(f"{where}: expected files in {path}, got a link, {member.name}; write its file instead")
            if not member.isfile() or not name:
                continue
            sample = by_name.setdefault(f"{folder}/{name}" if folder else name, _Sample(f"{path}: {member.name}"))
            if f".{extension.lower().rpartition('.')[2]}" in EXTENSIONS[rules]:
                if sample.picture is not None:
                    raise DataError(f"{where}: expected one image of each sample, got several of {sample.name}")
                opened = partial(_content, path, member.offset_data, member.size)
                sample.picture = Picture(f"{path}: {member.name}", opened, rules=rules)
            elif extension.lower() in _LABELS and member.size <= _LONGEST_LABEL:
                content = _content(path, member.offset_data, member.size).read()
                sample.label = content.decode(errors="replace").strip() or None
        end = tar.offset
    if _content(path, end, tarfile.BLOCKSIZE).read().strip(b"\0"):
        raise tarfile.ReadError(f"its members end at byte {end:,}, which is damaged")
    return list(by_name.values())


def _labels(samples: Sequence[_Sample], where: str) -> list[str]:
    if without := [sample.name for sample in samples if sample.label is None]:
        raise DataError(
            f"{where}: expected a label of each sample, as .{' or .'.join(_LABELS)}, got none of {len(without):,} of "
            f"{len(samples):,}: {', '.join(without[:_MOST_NAMED])}; for images without labels, set data.labels = 'none'"
        )
    return [sample.label for sample in samples if sample.label is not None]


def _pictures(samples: Sequence[_Sample]) -> list[Picture]:
    return [sample.picture for sample in samples if sample.picture is not None]


def _content(path: Path, offset: int, size: int) -> IO[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        return BytesIO(file.read(size))
