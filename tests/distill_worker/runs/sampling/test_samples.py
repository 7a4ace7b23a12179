"""The images that the teacher answers for."""

import torch

from distill_worker.config.load import parse_config
from distill_worker.runs.sampling.samples import Samples


def _queried(policy: str, query_view: str) -> torch.Tensor:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "ckd"},
        "budget": {"n": 20},
        "augmentation": {"policy": policy, "query_view": query_view},
    }
    return Samples.of(parse_config(document, source="test")).queried


def test_augmented_view_to_buy_is_a_crop_with_every_policy() -> None:
    """So that a strong policy for the student buys nothing anew, and nothing distorted."""
    crops = _queried("crop-flip", "augmented")
    assert torch.equal(_queried("strong", "augmented"), crops)
    assert not torch.equal(crops, _queried("strong", "original"))
