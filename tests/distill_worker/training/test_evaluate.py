"""Counting right answers, batch by batch."""

import torch
from torch import nn

from distill_worker.training.evaluate import count_correct


def test_count_equals_one_by_one_over_several_batches() -> None:
    """1,203 images: two full batches and a rest; the oracle normalises and asks one image at a time."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.9), nn.Linear(2 * 3 * 3, 4))
    images = torch.randint(0, 256, (1203, 2, 3, 3), dtype=torch.uint8)
    labels = torch.randint(0, 4, (1203,))
    mean, std = (0.25, 0.5), (0.5, 0.125)
    network.train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    counted = count_correct(network, images, labels, mean=mean, std=std)

    assert not network.training
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())
    expected = 0
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            seen = torch.stack([(image[c] / 255 - mean[c]) / std[c] for c in range(2)])
            expected += int(network(seen[None]).argmax() == label)
    assert counted == expected
    assert 0 < counted < 1203
