"""Bought outputs, aligned with the images that they were bought for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset


class Purchase(NamedTuple):
    """What a run on bought outputs needs to be the same run."""

    data: dict[str, Any]
    """The section `[data]`."""
    digest: str | None
    """Of the pixels; None if the data are at a path of the user's."""
    teacher: dict[str, Any]
    budget: dict[str, Any]
    cache: Path | str
    held_out_keys: tuple[bytes, ...]
    """The sample keys of those that are held out, to compare a student with its teacher."""
    chosen_keys: tuple[bytes, ...]
    """The sample keys of the others, in the order of selection."""


@dataclass(frozen=True, eq=False)
class Bought(Dataset[tuple[Tensor, Tensor, int]]):
    """A teacher's outputs for some of the images. It is a torch Dataset of the samples that are held.

    `bought[i]` is the sample at `indices[i]`: its image, float32 `[channels, height, width]` from 0 to 1; its
    log-probabilities, float32 `[classes]`; and its position among the images.
    """

    images: Tensor
    """All images, uint8 `[images, channels, height, width]`. Of a path, its training images."""
    indices: Tensor
    """int64 `[samples]`: the positions of the held samples among the images, in the order of purchase. Of images with
    the same pixels, the first: they share one call."""
    log_probabilities: Tensor
    """float32 `[images, classes]`, normalised; NaN in the rows of images that are not held. What the teacher did not
    return is filled in by the rules of docs/outputs.md."""
    held: Tensor
    """bool `[images]`: whether the output of an image is held; true for every image with the pixels of a held one."""
    class_names: tuple[str, ...]
    """In the order of the log-probabilities; their numbers if the teacher does not name them."""
    teacher_id: str
    """The name and version of the teacher, under which the outputs are in the cache."""
    output: str
    """The kind of output that was bought, such as `logits` or `top_k:5:2`."""
    n: int
    """How many samples were wanted; `indices` has fewer if `max_calls` left some for later."""
    calls: int
    """How many samples were bought by this call of `buy`; the others were in the cache."""
    remaining: int | None
    """The calls that the API key has left; None if the teacher does not say so, or was not contacted. After a call that
    was killed, too many by those of its last requests that the teacher charged only after this call had begun."""
    names: tuple[str, ...] | None = field(repr=False)
    """The file of each image, if the images are files."""
    purchase: Purchase = field(repr=False)

    def __len__(self) -> int:
        """How many samples are held."""
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor, int]:
        """A held sample: its image, its log-probabilities, and its position."""
        position = int(self.indices[place])
        return self.images[position].float() / 255, self.log_probabilities[position], position

    def __repr__(self) -> str:
        """In one line, without the tensors."""
        return (
            f"Bought({len(self)} of {self.n} samples among {len(self.images)} images, {self.output} of teacher "
            f"{self.teacher_id}, {self.calls} bought now)"
        )
