"""What is wrong with the data on purpose: exactly as much as was asked, and the same for one seed."""

from typing import Literal

import pytest
import torch

from distill_worker.data.corruption import imbalanced, noisy_labels, prune_weights

LABELS = torch.arange(200) % 5
Noise = Literal["symmetric", "pairwise"]


@pytest.mark.parametrize("kind", ["symmetric", "pairwise"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.333, 1.0])
def test_so_many_labels_are_wrong_and_no_other(kind: Noise, rate: float) -> None:
    noisy = noisy_labels(LABELS, kind=kind, rate=rate, num_classes=5, seed=0)
    assert int((noisy != LABELS).sum()) == round(rate * 200)
    assert set(noisy.tolist()) <= set(range(5))
    assert LABELS.tolist() == (torch.arange(200) % 5).tolist(), "what was given stays"


def test_pairwise_noise_names_the_next_class() -> None:
    noisy = noisy_labels(LABELS, kind="pairwise", rate=0.5, num_classes=5, seed=0)
    wrong = noisy != LABELS
    assert torch.equal(noisy[wrong], (LABELS[wrong] + 1) % 5)


def test_symmetric_noise_names_every_other_class_alike() -> None:
    """8,000 wrong labels among four others: 2,000 each, within five standard deviations."""
    labels = torch.zeros(8000, dtype=torch.int64)
    noisy = noisy_labels(labels, kind="symmetric", rate=1.0, num_classes=5, seed=0)
    counts = torch.bincount(noisy, minlength=5)
    assert int(counts[0]) == 0
    assert ((counts[1:] - 2000).abs() < 5 * (8000 * 0.25 * 0.75) ** 0.5).all()


@pytest.mark.parametrize("kind", ["symmetric", "pairwise"])
def test_more_noise_keeps_the_noise_there_is(kind: Noise) -> None:
    less, more = (noisy_labels(LABELS, kind=kind, rate=rate, num_classes=5, seed=3) for rate in (0.2, 0.6))
    wrong = less != LABELS
    assert torch.equal(less[wrong], more[wrong])


def test_noise_depends_on_the_seed_alone() -> None:
    first, again, other = (
        noisy_labels(LABELS, kind="symmetric", rate=0.3, num_classes=5, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("kind", "ratio", "expected"),
    [
        ("exponential", 16.0, [40, 20, 10, 5, 2]),
        ("step", 10.0, [40, 40, 4, 4, 4]),
        ("exponential", 1.0, [40] * 5),
        ("step", 1000.0, [40, 40, 1, 1, 1]),
    ],
)
def test_classes_keep_their_share(kind: Literal["exponential", "step"], ratio: float, expected: list[int]) -> None:
    """Of forty each: ratio^(-c / 4), or the later half one in so many; never none."""
    kept = imbalanced(LABELS, kind=kind, ratio=ratio, num_classes=5, seed=0)
    assert torch.bincount(LABELS[kept], minlength=5).tolist() == expected
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_profile_is_exact_where_classes_differ_already() -> None:
    """Every class can supply what the smallest one has."""
    labels = torch.cat([LABELS, torch.zeros(100, dtype=torch.int64)])
    kept = imbalanced(labels, kind="exponential", ratio=4.0, num_classes=5, seed=0)
    assert torch.bincount(labels[kept]).tolist() == [40, 28, 20, 14, 10]


def test_more_imbalance_keeps_a_part_of_what_less_keeps() -> None:
    less, more = (imbalanced(LABELS, kind="step", ratio=ratio, num_classes=5, seed=0) for ratio in (2.0, 8.0))
    assert set(more.tolist()) < set(less.tolist())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_smallest_weights_of_all_are_pruned_and_biases_stay(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "norm.weight": 1e-6 * torch.ones(4),
        "fc.weight": 10 * torch.randn(5, 4, generator=generator),
        "steps": torch.tensor(7),
    }
    pruned = prune_weights(state, share)
    magnitudes = sorted(abs(value) for name in ("conv.weight", "fc.weight") for value in state[name].flatten().tolist())
    count = int(share * len(magnitudes))
    gone = sorted(
        abs(old)
        for name in ("conv.weight", "fc.weight")
        for old, new in zip(state[name].flatten().tolist(), pruned[name].flatten().tolist(), strict=True)
        if new == 0
    )
    assert gone == magnitudes[:count]
    assert torch.equal(pruned["norm.weight"], state["norm.weight"])
    assert int(pruned["steps"]) == 7


def test_equal_weights_are_pruned_in_their_order() -> None:
    pruned = prune_weights({"fc.weight": torch.ones(2, 4)}, 0.5)
    assert pruned["fc.weight"].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
