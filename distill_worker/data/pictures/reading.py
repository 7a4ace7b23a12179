"""Encoded pictures, as canonical pixels of one shape.

The pixels of a JPEG, and of any picture that is resized, depend on the Pillow that decodes it; those of a PNG do not.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Final, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from distill_worker.data.cores import cores
from distill_worker.data.pictures.conversion import FirstLook, Head, OpenPicture, Shape, UnfitPicture, pixels_of
from distill_worker.data.pictures.rules import FIRST, NEWEST, Rules
from distill_worker.errors import DataError, PicturesUnread
from shared.sample_key import sample_key

Result = TypeVar("Result")

# The errors that Pillow raises for damaged files.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_AHEAD: Final = 8
"""Pictures a thread that are read before they are taken: they wait in memory."""
_FEWEST_FOR_THREADS: Final = 64
_HINT_AT_RULES: Final = (
    ". If they had one size in an earlier version, which did not turn them upright, data.rules = 1 reads them as it did"
)
_MOST_FAULTS: Final = 20
"""Pictures that a message names."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture that can be opened, any number of times."""

    name: str
    """For messages."""
    open: Callable[[], IO[bytes]]
    path: str | None = None
    """Of its file, if it has one of its own."""
    rules: Rules = NEWEST

    @classmethod
    def at(cls, path: str, rules: Rules = NEWEST) -> "Picture":
        """The picture in a file."""
        return cls(path, partial(_opened, path), path, rules)


class PictureFiles(Sequence[Picture]):
    """The pictures in files. There may be hundreds of thousands, so that each is made when it is used."""

    def __init__(self, paths: Sequence[str], rules: Rules = NEWEST) -> None:
        """Of the files at these paths."""
        self.paths = paths
        self.rules = rules

    def __len__(self) -> int:
        """How many there are."""
        return len(self.paths)

    @overload
    def __getitem__(self, place: int) -> Picture: ...
    @overload
    def __getitem__(self, place: slice) -> "PictureFiles": ...
    def __getitem__(self, place: int | slice) -> "Picture | PictureFiles":
        """One of them, or those in a slice."""
        found = self.paths[place]
        return Picture.at(found, self.rules) if isinstance(found, str) else PictureFiles(found, self.rules)


def _opened(path: str) -> IO[bytes]:
    return open(path, "rb")  # noqa: PTH123 - of hundreds of thousands, a Path each takes seconds


def common_shape(pictures: Sequence[Picture], image_size: tuple[int, int] | None, *, where: str) -> Shape:
    """Grey if all pictures are; of `image_size` (height, width), or of the one size that they all have.

    Only the heads of the files are read.

    Raises:
        DataError: a picture cannot be read, or they differ in size and no `image_size` is given.
    """
    return shape_of(pictures, heads(pictures, where=where), image_size, where=where)


def shape_of(
    pictures: Sequence[Picture], of_pictures: Sequence[Head], image_size: tuple[int, int] | None, *, where: str
) -> Shape:
    """As `common_shape`, from heads that are known. Raises `DataError`."""
    if image_size is not None and min(image_size) < 1:
        raise DataError(f"data.image_size: expected a positive height and width, got {list(image_size)}")
    grey, sizes = True, dict[tuple[int, int], str]()
    for picture, head in zip(pictures, of_pictures, strict=True):
        grey = grey and head.is_grey
        sizes.setdefault(head.size, picture.name)
    if not sizes:
        raise DataError(f"{where}: expected pictures, got none")
    if image_size is None and len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise DataError(
            f"{where}: expected data.image_size, because the pictures differ: {first} is {one[0]}x{one[1]}, {second} "
            f"is {other[0]}x{other[1]} (height x width); set for example data.image_size = [32, 32]"
            f"{_HINT_AT_RULES if pictures[0].rules != FIRST else ''}"
        )
    return Shape("L" if grey else "RGB", *(image_size or next(iter(sizes))))


def heads(pictures: Sequence[Picture], *, where: str) -> list[Head]:
    """The head of each picture; no pixels are decoded.

    Raises:
        DataError: names the pictures that cannot be read, or are of no kind that is read.
    """
    return [head for _, head in read_each(pictures, OpenPicture.head, where)]


def read_pictures(pictures: Sequence[Picture], shape: Shape, *, where: str) -> NDArray[np.uint8]:
    """uint8 `[pictures, channels, height, width]`; resized, where they differ, with antialiasing to the whole shape.

    Raises:
        DataError: names the pictures that cannot be read.
    """
    pixels = np.empty((len(pictures), shape.channels, shape.height, shape.width), dtype=np.uint8)
    for row, (_, decoded) in zip(
        pixels, read_each(pictures, lambda picture: pixels_of(picture.converted(shape)), where), strict=True
    ):
        row[:] = decoded
    return pixels


def first_keys(
    pictures: Sequence[Picture],
    keys: Sequence[bytes],
    *,
    among: Sequence[Picture],
    image_size: tuple[int, int] | None,
    where: str,
) -> dict[bytes, bytes]:
    """The sample keys by the first rules of those pictures that these read differently, by their own keys.

    Args:
        pictures: that can be read.
        keys: the sample key of each.
        among: all pictures of the data set, which decide its shape.
        image_size: height and width that they are resized to.
        where: the start of messages.

    Raises:
        DataError: names the pictures that cannot be read.
    """
    looks = [found for _, found in read_each(among, both_looks, where)]
    heads_alone = [head for head, _ in looks]
    shape = first_shape(heads_alone, [first for _, first in looks], image_size)
    is_same = shape == shape_of(among, heads_alone, image_size, where=where) and not any(first for _, first in looks)
    if shape is None or is_same:
        return {}
    of_each = zip(keys, read_each(pictures, lambda picture: first_key(picture, shape), where), strict=True)
    return {key: first for key, (_, first) in of_each if first is not None and first != key}


def both_looks(picture: OpenPicture) -> tuple[Head, FirstLook | None]:
    """The head of a picture, and how the first rules see it. Raises `UnfitPicture`."""
    return picture.head(), picture.first_look()


def first_shape(
    of_pictures: Sequence[Head], looks: Sequence[FirstLook | None], image_size: tuple[int, int] | None
) -> Shape | None:
    """As `common_shape`, by the first rules; None if these read no picture, or found no common size.

    Args:
        of_pictures: the head of each.
        looks: how the first rules see it; None if as the head says.
        image_size: height and width.
    """
    grey, sizes = True, set[tuple[int, int]]()
    for head, look in zip(of_pictures, looks, strict=True):
        if look is None or look.is_read:
            grey = grey and head.is_grey
            sizes.add(head.size[::-1] if look is not None and look.is_turned else head.size)
    if not sizes or (image_size is None and len(sizes) > 1):
        return None
    return Shape("L" if grey else "RGB", *(image_size or sizes.pop()))


def first_key(picture: OpenPicture, shape: Shape) -> bytes | None:
    """The sample key of a picture by the first rules; None if they do not read it."""
    look = picture.first_look()
    if look is not None and not look.is_read:
        return None
    return sample_key(np.ascontiguousarray(pixels_of(picture.converted_first(shape))))


def joined(parts: Sequence[Sequence[Picture]]) -> Sequence[Picture]:
    """The pictures of all parts."""
    files = [part for part in parts if isinstance(part, PictureFiles)]
    if len(files) == len(parts):
        return PictureFiles([path for part in files for path in part.paths], files[0].rules)
    return [picture for part in parts for picture in part]


def read_in_parts(parts: Sequence[Sequence[Picture]], shape: Shape, *, where: str) -> list[NDArray[np.uint8]]:
    """The pictures of each part as `read_pictures` reads them; one error names those of all parts."""
    pixels = read_pictures(joined(parts), shape, where=where)
    return np.split(pixels, np.cumsum([len(part) for part in parts])[:-1])


def read_picture(picture: Picture, read: Callable[[OpenPicture], Result], *, where: str) -> Result:
    """What `read` returns of one opened picture. Raises `DataError`."""
    ((_, result),) = read_each([picture], read, where)
    return result


class _Fault(NamedTuple):
    """Why a picture cannot be used."""

    reason: str


OnFault = Callable[[Picture, str], None]
"""Gets a picture that cannot be used, and why."""


def read_each(
    pictures: Sequence[Picture], read: Callable[[OpenPicture], Result], where: str, on_fault: OnFault | None = None
) -> Iterator[tuple[Picture, Result]]:
    """Each picture with what is read from it, in their order.

    Args:
        pictures: to read.
        read: reads an opened picture.
        where: the start of messages.
        on_fault: called for each picture that cannot be used, which is left out. Without it, one error names them all
            at the end.

    Raises:
        PicturesUnread: some pictures cannot be used.
    """

    def outcome(picture: Picture) -> Result | _Fault:
        try:
            with picture.open() as file, Image.open(file) as image:
                return read(OpenPicture(image, picture.rules))
        except UnfitPicture as error:
            return _Fault(f"{picture.name}: {error}")
        except _UNREADABLE as error:
            why = "of no known format" if isinstance(error, UnidentifiedImageError) else error
            return _Fault(f"{picture.name}: expected a picture, got an unreadable file ({why}); replace or remove it")

    faults: list[str] = []
    for picture, result in zip(pictures, _in_order(outcome, pictures), strict=True):
        if isinstance(result, _Fault):
            faults.append(result.reason)
            if on_fault is not None:
                on_fault(picture, result.reason)
        else:
            yield picture, result
    if faults and on_fault is None:
        more = len(faults) - _MOST_FAULTS
        raise PicturesUnread(
            f"{where}: {'; '.join(faults[:_MOST_FAULTS])}" + (f"; and {more} more" if more > 0 else "")
        )


def _in_order(read: Callable[[Picture], Result], pictures: Sequence[Picture]) -> Iterator[Result]:
    """What is read of each picture, in their order. All cores read files, at most a little ahead of what is taken.

    Pictures that are no files of their own may share a reader, which threads must not use at once.
    """
    threads = cores() if isinstance(pictures, PictureFiles) else 1
    if threads == 1 or len(pictures) < _FEWEST_FOR_THREADS:
        yield from map(read, pictures)
        return
    Image.preinit()  # before threads would do it at once
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        ahead = deque[Future[Result]]()
        try:
            for picture in pictures:
                ahead.append(pool.submit(read, picture))
                if len(ahead) >= _AHEAD * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
