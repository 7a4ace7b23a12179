"""Peak memory as the allocator counts it, beside the formula."""

import pytest

from benchmarks.training.growth import formula_bytes, peak_bytes


@pytest.mark.parametrize(("batch", "classes"), [(256, 10), (128, 1000)])
def test_peak_memory_of_all_pairs_is_that_of_the_formula(batch: int, classes: int) -> None:
    assert peak_bytes(batch, classes) == pytest.approx(formula_bytes(batch, classes), rel=0.05)
