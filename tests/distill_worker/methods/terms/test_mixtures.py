"""Mixtures, sample by sample and pixel by pixel."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.methods.terms.mixtures import (
    Mixture,
    _DeviceDistributions,
    _NumPyDistributions,
    draw_cutmix,
    draw_mixup,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(batch: int = 5) -> Tensor:
    return torch.randint(0, 256, (batch, 2, 6, 4), dtype=torch.uint8, generator=_generator(9))


@pytest.mark.parametrize("parts", [2, 3])
def test_mixup_is_the_weighted_sum_of_its_members(parts: int) -> None:
    images = _images()
    mixture = draw_mixup(5, parts=parts, generator=_generator())
    mixed = mixture.images(images)
    assert mixed.dtype == torch.float32
    for row in range(5):
        expected = torch.zeros(2, 6, 4)
        for member, share in zip(mixture.members[row], mixture.shares[row], strict=True):
            expected += share * images[member].float()
        assert_close(mixed[row], expected)


def test_cutmix_pastes_its_box_and_nothing_else() -> None:
    images = _images()
    mixture = draw_cutmix(5, height=6, width=4, generator=_generator())
    mixed = mixture.images(images)
    assert mixture.boxes is not None
    for row, (top, left, bottom, right) in enumerate(mixture.boxes.tolist()):
        own, other = (images[member].float() for member in mixture.members[row])
        for y in range(6):
            for x in range(4):
                inside = top <= y < bottom and left <= x < right
                assert_close(mixed[row, :, y, x], (other if inside else own)[:, y, x])
        assert float(mixture.shares[row, 1]) == pytest.approx((bottom - top) * (right - left) / 24)


@pytest.mark.parametrize(
    "mixture",
    [draw_mixup(6, parts=3, generator=_generator()), draw_cutmix(6, height=8, width=8, generator=_generator())],
)
def test_targets_are_mixed_as_the_images_are(mixture: Mixture) -> None:
    logits = 5 * torch.randn(6, 4, generator=_generator(3))
    probabilities = logits.softmax(1)
    expected = torch.stack(
        [
            torch.stack([share * probabilities[member] for member, share in zip(*row, strict=True)]).sum(0)
            for row in zip(mixture.members, mixture.shares, strict=True)
        ]
    )
    assert_close(mixture.probabilities(probabilities), expected)
    assert_close(mixture.log_probabilities(logits).exp(), expected)
    assert_close(mixture.log_probabilities(logits + 7), mixture.log_probabilities(logits))


def test_member_without_a_share_leaves_no_trace() -> None:
    """A box of nothing: its logarithm is minus infinity, and must not become a NaN."""
    mixture = Mixture(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    logits = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    assert_close(mixture.log_probabilities(logits), logits.log_softmax(1)[[0, 0]])


@pytest.mark.parametrize("distributions", [_NumPyDistributions, _DeviceDistributions])
@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 8.0])
def test_cpu_and_device_draw_from_the_same_distributions(
    distributions: type[_NumPyDistributions | _DeviceDistributions], alpha: float
) -> None:
    """Each share of three has the mean 1/3 and the variance 2 / (9 (3 a + 1)); 20,000 draws."""
    drawn = distributions(_generator())
    shares = drawn.dirichlet(alpha, 20_000, 3)
    areas = drawn.square_roots(alpha, 20_000).square()
    assert_close(shares.sum(dim=1), torch.ones(20_000, dtype=torch.float64))
    assert_close(shares.mean(dim=0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.02, rtol=0)
    assert_close(shares.var(dim=0), torch.full((3,), 2 / (9 * (3 * alpha + 1)), dtype=torch.float64), rtol=0.05, atol=0)
    assert float(areas.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(areas.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    places = drawn.integers((2, 5), 20_000)
    assert places.shape == (20_000, 2)
    for column, limit in zip(places.unbind(1), (2, 5), strict=True):
        assert_close(column.bincount() / 20_000, torch.full((limit,), 1 / limit), atol=0.02, rtol=0)


def test_draws_on_the_cpu_are_those_of_the_first_version() -> None:
    """Outputs were bought on such mixtures: others would be bought again. Computed with NumPy as that version did."""
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=_generator(3))))
    side = np.sqrt(random.beta(0.5, 0.5, size=64))
    centres = random.integers(0, (32, 28), size=(64, 2))
    halves = (side[:, None] * (32, 28)).astype(np.int64) // 2
    boxes = np.concatenate([np.maximum(centres - halves, 0), np.minimum(centres + halves, (32, 28))], axis=1)
    cutmix = draw_cutmix(64, height=32, width=28, alpha=0.5, generator=_generator(3))
    assert cutmix.boxes is not None
    assert cutmix.boxes.tolist() == boxes.tolist()
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=_generator(3))))
    mixup = draw_mixup(64, parts=3, alpha=0.5, generator=_generator(3))
    assert torch.equal(mixup.shares, torch.from_numpy(random.dirichlet([0.5] * 3, size=64)).float())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_drawn_from_the_distribution_that_alpha_names(alpha: float) -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)); 20,000 draws, within five standard errors."""
    first = draw_mixup(20_000, alpha=alpha, generator=_generator()).shares[:, 0].double()
    assert float(first.mean()) == pytest.approx(0.5, abs=5 * 0.5 / 20_000**0.5)
    assert float(first.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_every_sample_is_the_first_member_of_its_own_mixture_and_once_a_later_one() -> None:
    for mixture in (
        draw_mixup(7, parts=3, generator=_generator()),
        draw_cutmix(7, height=4, width=4, generator=_generator()),
    ):
        assert mixture.members[:, 0].tolist() == list(range(7))
        assert all(sorted(column.tolist()) == list(range(7)) for column in mixture.members.T)
        assert_close(mixture.shares.sum(dim=1), torch.ones(7))


def test_everything_comes_from_the_generator() -> None:
    first, again, other = (draw_mixup(6, generator=_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.shares, again.shares)
    assert torch.equal(first.members, again.members)
    assert not torch.equal(first.shares, other.shares)


def test_batch_of_one_is_mixed_with_itself() -> None:
    images = _images(1)
    assert_close(draw_mixup(1, parts=3, generator=_generator()).images(images), images.float())
    assert_close(draw_cutmix(1, height=6, width=4, generator=_generator()).images(images), images.float())
