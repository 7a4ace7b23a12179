"""The sections about the student: `[student]` and `[training]`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from distill_worker.config.section import Section


class Student(Section):
    """The network to train."""

    network: str
    network_file: Path | None = None
    """The file of a network `path/to/file.py:factory`. Default: that path, below the folder of the configuration if it
    is there, otherwise below the working directory."""

    @property
    def network_to_build(self) -> str:
        """`network`, with the place of its file."""
        if self.network_file is None or not self.network.rpartition(":")[0].endswith(".py"):
            return self.network
        return f"{self.network_file}:{self.network.rpartition(':')[2]}"


class Training(Section):
    """The optimisation: SGD with momentum."""

    seed: int = 0
    """The seed of initial weights, batch order, augmentation and drawn groups."""
    protocol: Literal["steps", "paper"] = "steps"
    """`steps`: a fixed number of steps, whatever n is. `paper`: epochs of n samples; when validation accuracy has not
    risen for `patience_epochs`, training returns to the best weights with a tenth of the learning rate, three times."""
    steps: int = Field(default=600, ge=1)
    """For `steps`: the number of steps."""
    stop_after_steps: int | None = Field(default=None, ge=1)
    """For `steps`: stop here, with the schedule of `steps` unfinished. This makes a half-trained teacher."""
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    """For `steps`: the schedule of the learning rate."""
    patience_epochs: int = Field(default=50, ge=1)
    """For `paper`."""
    max_epochs: int = Field(default=1000, ge=1)
    """For `paper`: the most epochs in all."""
    validation_share: float | None = Field(default=None, ge=0, lt=1)
    """The number of validation samples, divided by the sum of that number and n. They are not bought. Default: 0.2 for
    `paper`, otherwise 0."""
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"
    """On several ranks: batch normalisation by the statistics of the whole batch, as in one process, or on each rank by
    those of its own rows. Part of the identity of a run on several ranks."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    channels_last: bool = False
    """The layout of images in memory. Often faster with many channels or on a GPU; measure it. Part of the run's
    identity, as `threads` is, because the last bits of the result differ."""
    threads: int = Field(default=1, ge=1)
    """CPU threads. Part of the run's identity, because another number may change the last bits of the result."""

    @model_validator(mode="after")
    def _protocol_is_possible(self) -> "Training":
        if self.protocol == "paper" and self.validation_share == 0:
            raise ValueError("validation_share: expected more than 0, because the paper's protocol stops by validation")
        return self

    @property
    def validated_share(self) -> float:
        """The validation share, or its default."""
        if self.validation_share is not None:
            return self.validation_share
        return 0.2 if self.protocol == "paper" else 0.0
