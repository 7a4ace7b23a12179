"""What members say of bought samples that they were not trained on."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from distill_worker.runs.self_training.members import Members, config_of_member, labelled
from distill_worker.runs.self_training.outputs_file import OutputsFile
from distill_worker.training.training_set import TrainingSet


def cross_fitted(members: Members, folder: Path, parts: Sequence[Tensor], data: TrainingSet) -> Tensor:
    """For each bought sample, the output of a member that was trained without its part.

    Args:
        members: of the run.
        folder: their run directories are in it, and the outputs.
        parts: the rows of each part, int64; together each row once.
        data: the bought samples.

    Returns:
        Log-probabilities, float32 `[samples, classes]`, on the CPU.

    Raises:
        ConfigError: a member cannot be trained.
        RunError: the folder cannot be used.
    """
    of_parts = [
        member
        for number in range(1, len(parts) + 1)
        for member in members.of(
            [config_of_member(members.config, members.settings, folder / f"fold-{number}", f"fold:{number}")],
            {"left_out_fold": number},
        )
    ]

    def make() -> Tensor:
        outputs = torch.empty(len(data), data.label_probabilities.shape[1])
        for index, (member, rows) in enumerate(zip(of_parts, parts, strict=True)):
            is_held_out = torch.zeros(len(data), dtype=torch.bool)
            is_held_out[rows] = True
            others = (~is_held_out).nonzero().flatten().to(data.images.device)
            members.train(member, data.only(others), earlier=index)
            held_out = rows.to(data.images.device)
            outputs[rows] = members.outputs([member], data.images, held_out, data.preprocessing)
        return outputs

    return labelled(OutputsFile(folder / "held-out.safetensors", members.identity), of_parts, make)
