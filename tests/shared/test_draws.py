"""The global generators: seeded together, stored together, and given back."""

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from shared.networks.draws import draws_from, generator_states, kept_draws, set_generator_states


def _draw() -> tuple[float, ...]:
    return torch.rand(()).item(), torch.randn(()).item(), random.random(), random.gauss(), *np.random.normal(size=3)


def test_seed_decides_every_draw() -> None:
    drawn = []
    for seed in (3, 3, 4, -1, 2**40):
        with draws_from(seed):
            drawn.append(_draw())
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4
    assert all(first != second for first, second in zip(drawn[0], drawn[2], strict=True))


def test_torch_draws_as_after_its_own_seeding() -> None:
    """So that initial weights stay those of earlier versions."""
    with draws_from(5):
        drawn = torch.randn(4)
    assert torch.equal(drawn, torch.randn(4, generator=torch.Generator().manual_seed(5)))


def test_callers_generators_come_back_also_after_an_error() -> None:
    states = generator_states()
    expected = _draw()
    set_generator_states(states)
    with draws_from(0):
        _draw()
    with kept_draws():
        _draw()
    with suppress(KeyError), draws_from(1):
        _draw()
        raise KeyError
    assert _draw() == expected


def test_states_survive_a_checkpoint(tmp_path: Path) -> None:
    """One that is loaded without unpickling code."""
    _draw()
    torch.save(generator_states(), tmp_path / "states.pt")
    expected = _draw()
    set_generator_states(torch.load(tmp_path / "states.pt", weights_only=True))
    assert _draw() == expected


def test_states_and_seeds_hold_under_another_generator_of_numpy(tmp_path: Path) -> None:
    """Code may call `numpy.random.set_bit_generator`."""
    with draws_from(5):
        expected = _draw()
    with kept_draws():
        np.random.set_bit_generator(np.random.PCG64(3))  # type: ignore[attr-defined]
        torch.save(generator_states(), tmp_path / "states.pt")
        under_other = _draw()
        with draws_from(5):
            assert _draw() == expected
    assert np.random.get_state(legacy=False)["bit_generator"] == "MT19937"
    with kept_draws():
        set_generator_states(torch.load(tmp_path / "states.pt", weights_only=True))
        assert _draw() == under_other
