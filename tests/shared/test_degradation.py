"""Outputs made worse on purpose: the same for the same image, by as much as was said, under another fingerprint."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from shared.degradation import Degradation, degrade
from shared.networks import build_network
from shared.weights import WeightsCard, fingerprint


def _images(samples: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (samples, 1, 8, 8), dtype=np.uint8)


def test_noise_belongs_to_the_image_whatever_it_comes_with() -> None:
    """Asked again, in another batch and order, the answer is the same to the last bit."""
    images, logits = _images(5), np.zeros((5, 4), np.float32)
    together = degrade(logits, images, Degradation(noise=1.0))
    for index in (3, 0, 4):
        alone = degrade(logits[:1], images[index : index + 1], Degradation(noise=1.0))
        assert alone.tobytes() == together[index : index + 1].tobytes()
    assert len({row.tobytes() for row in together}) == 5
    assert degrade(logits, images, Degradation(noise=1.0, seed=1)).tobytes() != together.tobytes()


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    """400 x 50 draws: mean 0 and deviation 2, within five standard errors."""
    noise = degrade(np.zeros((400, 50), np.float32), _images(400), Degradation(noise=2.0))
    assert abs(noise.mean()) < 5 * 2 / 20_000**0.5
    assert noise.std() == pytest.approx(2, rel=5 / 40_000**0.5)


@pytest.mark.parametrize(("decimals", "expected"), [(0, [1.0, -3.0]), (1, [1.2, -2.6]), (2, [1.23, -2.57])])
def test_rounding_leaves_so_many_decimals(decimals: int, expected: list[float]) -> None:
    logits = np.array([[1.2345, -2.5678]], np.float32)
    rounded = degrade(logits, _images(1), Degradation(decimals=decimals))
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, [expected], rtol=1e-6)


def test_nothing_to_do_changes_nothing() -> None:
    logits = np.array([[1.2345, -2.5678]], np.float32)
    assert degrade(logits, _images(1), Degradation()).tobytes() == logits.tobytes()


@pytest.mark.parametrize("given", [{"noise": -1.0}, {"noise": float("nan")}, {"decimals": -1}, {"blur": 1}])
def test_bad_degradation_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Degradation.model_validate(given)


def test_degraded_teacher_has_a_fingerprint_of_its_own() -> None:
    """What was bought of one is never mixed with what was bought of the other."""
    card = WeightsCard(
        network="resnet8",
        num_classes=2,
        in_channels=1,
        image_size=(8, 8),
        mean=(0.5,),
        std=(0.5,),
        class_names=("a", "b"),
    )
    state = build_network("resnet8", num_classes=2, in_channels=1).state_dict()
    cards = [
        card.model_copy(update={"degradation": what}) for what in (None, Degradation(noise=1), Degradation(decimals=1))
    ]
    assert len({fingerprint(each, state) for each in cards}) == 3
    assert fingerprint(cards[0], state) == fingerprint(card, state)
