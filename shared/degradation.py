"""Deliberately worse outputs of a teacher: noise and rounding, the same for the same image for ever.

A degraded teacher is a teacher of its own: its description says how it is degraded, and its fingerprint depends on it.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shared.sample_key import sample_keys


class Degradation(BaseModel):
    """How the logits are degraded: noise is added first, then they are rounded."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of Gaussian noise, in the unit of the logits."""
    decimals: int | None = Field(default=None, ge=0, le=6)
    """Digits after the point that are left."""
    seed: int = 0


def degrade(logits: NDArray[np.float32], images: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.float32]:
    """The degraded logits, `[samples, classes]`, of uint8 images `[samples, channels, height, width]`.

    The noise of an image depends on its pixels and the seed alone, so that a repeated request gives the same answer.
    """
    degraded = logits
    if degradation.noise:
        head = f"noise:{degradation.seed}:".encode()
        seeds = [int.from_bytes(sha256(head + key).digest()[:16], "big") for key in sample_keys(images)]
        noise = np.stack([np.random.default_rng(seed).standard_normal(logits.shape[1]) for seed in seeds])
        degraded = degraded + (degradation.noise * noise).astype(np.float32)
    if degradation.decimals is not None:
        degraded = np.round(degraded, degradation.decimals)
    return degraded.astype(np.float32, copy=False)
