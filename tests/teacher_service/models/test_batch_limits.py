"""Any number of images goes through a model that takes only some batch sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from teacher_service.models.batch_limits import BatchLimits


@given(images=st.integers(1, 9), least=st.integers(1, 4), more=st.none() | st.integers(0, 4))
def test_outputs_are_those_of_one_pass_and_each_batch_has_a_size_that_is_taken(
    images: int, least: int, more: int | None
) -> None:
    limits = BatchLimits(least, None if more is None else least + more)
    sizes = list[int]()

    def model(batch: Tensor) -> list[Tensor]:
        sizes.append(len(batch))
        return [batch.sum((1, 2, 3)), batch * 2]

    seen = torch.arange(images * 8.0).reshape(images, 2, 2, 2)
    sums, doubled = limits.run(model, seen)
    assert torch.equal(sums, seen.sum((1, 2, 3)))
    assert torch.equal(doubled, seen * 2)
    assert all(least <= size <= (limits.most or images + least) for size in sizes)


def test_output_without_a_row_for_each_image_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected outputs of 2 images, got the shape \[1, 3\]"):
        BatchLimits().run(lambda _: [torch.zeros(1, 3)], torch.zeros(2, 3, 8, 8))
