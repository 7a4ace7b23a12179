"""The global random generators that a network's own code draws from: those of torch (CPU and CUDA), Python and NumPy.

Dropout, stochastic depth and many initialisations draw from them. Networks run with generators of our own seed, and the
caller's generators come back afterwards.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator_states() -> dict[str, Any]:
    """The states of the global generators, as tensors, numbers and texts alone, so that a checkpoint can hold them."""
    numpy = np.random.get_state(legacy=False)
    words = {name: np.asarray(value).tolist() for name, value in numpy["state"].items()}
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if _has_cuda() else [],
        "python": random.getstate(),
        "numpy": {**numpy, "state": words},
    }


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Restore states that `generator_states` gave; those of CUDA as far as this machine has the devices."""
    torch.set_rng_state(states["torch"])
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
    random.setstate(states["python"])
    _use_bit_generator(states["numpy"]["bit_generator"])
    np.random.set_state(states["numpy"])


@contextmanager
def kept_draws() -> Iterator[None]:
    """Leave the global generators as they were, whatever is drawn meanwhile."""
    before = generator_states()
    try:
        yield
    finally:
        set_generator_states(before)


@contextmanager
def draws_from(seed: int) -> Iterator[None]:
    """Let the global generators draw from a seed; afterwards they are as they were."""
    with kept_draws():
        torch.default_generator.manual_seed(seed)
        if _has_cuda():
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        _use_bit_generator("MT19937")
        np.random.seed(seed % 2**32)
        yield


def _use_bit_generator(name: str) -> None:
    """Let NumPy's global generator be of this kind; code may have put another in its place."""
    if np.random.get_state(legacy=False)["bit_generator"] != name:
        np.random.set_bit_generator(getattr(np.random, name)())  # type: ignore[attr-defined]


def _has_cuda() -> bool:
    """Whether this process uses CUDA; to ask for a state would otherwise make it begin."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
