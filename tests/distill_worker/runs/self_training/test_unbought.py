"""The samples that an ensemble labels, and the runs that have none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.errors import ConfigError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.unbought import check_self_training, unbought_images
from distill_worker.runs.train_student import train_student
from distill_worker.training.ranks.group import Ranks
from tests.distill_worker.runs.self_training.test_stage import N, config_in, run


def test_several_ranks_are_an_error(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with pytest.raises(
        ConfigError, match=r"self_training: expected one process, got 2 ranks, .* nothing was spent. .* torchrun$"
    ):
        train_student(config, Samples.of(config), {}, None, ranks=Ranks(0, 2))
    assert not config.output.directory.exists()


def test_ranks_of_a_run_that_auto_filled_in_get_both_remedies(tmp_path: Path) -> None:
    """Its file has no section that the user could leave out."""
    config = config_in(tmp_path, chosen_by_auto=("method", "self_training"))
    with pytest.raises(
        ConfigError, match=r"without torchrun, or name a method in the file, because 'auto' chose \[self"
    ):
        check_self_training(config, Samples.of(config), ranks=2)


def test_later_rounds_that_buy_every_sample_are_an_error_before_the_first(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    samples = Samples.of(config)
    check_self_training(config, samples, ranks=1, later=len(samples.unbought) - 1)
    with pytest.raises(ConfigError, match="neither bought nor for validation, got none"):
        check_self_training(config, samples, ranks=1, later=len(samples.unbought))


def test_run_that_buys_every_sample_has_no_pool(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"self_training: expected samples that are neither bought .* lower budget\.n"
    ):
        run(tmp_path, budget={"n": None})


def test_images_of_the_pool_are_not_copied(tmp_path: Path) -> None:
    samples = Samples.of(config_in(tmp_path))
    images, _ = unbought_images(samples, torch.device("cpu"))
    assert images.data_ptr() == samples.dataset.train.images.data_ptr()


def test_validation_samples_are_neither_learned_from_nor_labelled(tmp_path: Path) -> None:
    sections: dict[str, Any] = {"training": {"validation_share": 0.2}, "self_training": {"rounds": 1}}
    result = run(tmp_path, **sections)
    samples = Samples.of(config_in(tmp_path, **sections))
    assert not set(samples.validation) & {*samples.unbought, *samples.chosen}
    assert result["self_training"]["unbought"] == len(samples.candidates) - len(samples.validation) - N
    assert result["best_validation"] is not None
    metrics = (tmp_path / "run" / "self-training" / "round-1" / "member-1" / "metrics.jsonl").read_text()
    assert "validation" not in metrics
