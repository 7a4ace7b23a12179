"""The pictures of docs/method.md are what the code draws, and say what is true of the losses."""

import itertools
import json

import pytest
import torch

from distill_worker.losses import ckd_loss, kd_loss
from tests.docs.scripts import DOCS, script

DRAWN = script("draw_method")
RECORDED = json.loads(DRAWN.OUTPUTS.read_text(encoding="utf-8"))
LOGITS = torch.tensor(RECORDED["logits"], dtype=torch.float64)


def test_pictures_are_the_ones_that_the_code_draws() -> None:
    """If this fails, run `make docs`."""
    pictures = {chart.name: DRAWN.document_svg(chart) for chart in DRAWN.charts()}
    assert len(pictures) == 4
    for name, picture in pictures.items():
        assert (DOCS / "images" / f"{name}.svg").read_text(encoding="utf-8") == picture, name


@pytest.mark.parametrize("k", [2, 3, 4])
def test_comparisons_are_counted_as_one_by_one(k: int) -> None:
    n, of_a = 6, -(-k // 2)
    one_by_one = sum(
        1
        for group_a in itertools.combinations(range(n), of_a)
        for _ in itertools.combinations(set(range(n)) - set(group_a), k - of_a)
    )
    assert DRAWN.comparisons(n, k) == one_by_one


def test_page_names_the_pairs_of_fifty_outputs() -> None:
    assert f"{DRAWN.comparisons(50, 2):,}" in (DOCS / "method.md").read_text(encoding="utf-8")


def test_ckd_does_not_see_one_vector_and_kd_does() -> None:
    shifted = LOGITS + torch.nn.functional.one_hot(torch.tensor(DRAWN.SHIFTED_CLASS), 10) * 3.0
    assert float(ckd_loss(shifted, LOGITS)) == pytest.approx(0, abs=1e-9)
    assert float(kd_loss(shifted, LOGITS)) > 0.1
