"""`networks`: what a student can be, with figures that building confirms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.networks import build_network
from tests.distill_worker.cli.conftest import Command


def _listed(command: Command, *arguments: object) -> dict[str, dict[str, Any]]:
    ended = command("networks", "--json", *arguments)
    assert ended.status == 0, ended.stderr
    return {row["name"]: row for row in json.loads(ended.stdout)}


def test_parameters_are_those_of_the_network(command: Command) -> None:
    rows = _listed(command, "--classes", 7, "--channels", 1)
    network = build_network("resnet8", num_classes=7, in_channels=1)
    assert rows["resnet8"]["parameters"] == sum(values.numel() for values in network.parameters())
    assert rows["resnet8"]["smallest_image"] == 8
    assert {row["family"] for row in rows.values()} == {"resnet", "wrn", "vgg", "mobilenet", "shufflenet"}


def test_table_says_what_it_is_for(command: Command) -> None:
    printed = command("networks").stdout
    assert "resnet8x4" in printed
    assert "For 10 classes and images with 3 channels" in printed


def test_data_decide_channels_and_classes(command: Command, tmp_path: Path) -> None:
    draw, arrays = np.random.default_rng(0), dict[str, Any]()
    for split in ("train", "test"):
        arrays[f"{split}_images"] = draw.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(12) % 4
    np.savez(tmp_path / "own.npz", **arrays)
    rows = _listed(command, "--data", tmp_path / "own.npz")
    network = build_network("wrn_16_1", num_classes=4, in_channels=3)
    assert rows["wrn_16_1"]["parameters"] == sum(values.numel() for values in network.parameters())


def test_too_small_images_leave_networks_out(command: Command) -> None:
    """vgg19 halves its images, and those of two pixels vanish."""
    assert "resnet8" in _listed(command, "--image-size", "2x2")
    assert "vgg19" not in _listed(command, "--image-size", "1x4")


@pytest.mark.parametrize("size", ["0", "8y", "8x", "-3"])
def test_wrong_size_is_named(command: Command, size: str) -> None:
    ended = command("networks", f"--image-size={size}")
    assert (ended.status, ended.stdout) == (2, "")
    assert "--image-size: expected a size such as 32" in ended.stderr
