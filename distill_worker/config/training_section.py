"""The sections about the student: `[student]` and `[training]`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StrictInt, model_validator

from distill_worker.config.section import ImageSize, Section

AUTO: Final = "auto"
"""A setting that is resolved before the run begins: see `runs.resolution`."""


class Student(Section):
    """The network to train."""

    network: str
    """The name of a network (docs/networks.md). `auto`, for images without labels: a small one for images of up to 64
    pixels, `torchvision:resnet18` for larger ones."""
    network_file: Path | None = None
    """The file of a network `path/to/file.py:factory`. Default: that path, below the folder of the configuration if it
    is there, otherwise below the working directory."""

    weights: Path | None = None
    """The file of the weights that the student starts from: safetensors, or a state dict that PyTorch saved. A
    classifier for another number of classes is left as it is drawn. Default: all weights are drawn."""
    image_size: ImageSize | None = None
    """Height and width that images are resized to for the student: bilinear, antialiased where they shrink. The
    teacher gets them as they are. Default: the student does, too."""

    def input_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Channels, height and width of what the student sees of images of this shape."""
        return image_shape if self.image_size is None else (image_shape[0], *self.image_size)

    @property
    def has_outside_weights(self) -> bool:
        """Whether it starts from weights that were trained before: from a file, or as a pretrained module."""
        return self.weights is not None or self.network.startswith("pretrained::")

    @property
    def network_to_build(self) -> str:
        """`network`, with the place of its file."""
        if self.network_file is None or not self.network.rpartition(":")[0].endswith(".py"):
            return self.network
        return f"{self.network_file}:{self.network.rpartition(':')[2]}"


_UNITS: Final = {"s": 1, "min": 60, "h": 3600}
_TIME: Final = re.compile(rf"(\d+(?:\.\d+)?) *({'|'.join(_UNITS)})")


def _is_budget(budget: int | str) -> int | str:
    if isinstance(budget, int) and budget >= 1:
        return budget
    if isinstance(budget, str) and (time := _TIME.fullmatch(budget)) and float(time[1]) > 0:
        return budget
    raise ValueError(f"expected a number of steps, or a time such as '90 s', '2 min' or '1 h', got {budget!r}")


class Training(Section):
    """The optimisation: SGD with momentum."""

    seed: int = 0
    """The seed of initial weights, batch order, augmentation and drawn groups."""
    protocol: Literal["steps", "paper"] = "steps"
    """`steps`: a fixed number of steps, the same for every n. `paper`: epochs of n samples; when validation accuracy
    has not risen for `patience_epochs`, training returns to the best weights with a tenth of the learning rate, three
    times."""
    steps: int = Field(default=600, ge=1)
    """For `steps`: the number of steps."""
    budget: Annotated[StrictInt | str, AfterValidator(_is_budget)] | None = None
    """For `steps`: what all trainings of the run, in all its rounds, may take together, in place of `steps`: a number
    of steps, or a time such as `90 s`, `2 min` or `1 h`. A time becomes steps when the run begins, by the speed of its
    first ones. A run that began keeps its steps, which are part of its identity in place of the budget."""
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
    """Samples in a step."""
    learning_rate: float = Field(default=0.05, gt=0)
    """The highest learning rate of the schedule."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """The momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """The weight decay of SGD, on all parameters."""
    averaging: Literal["none", "ema", "swa"] = "none"
    """For `steps`: the weights that are validated and stored. `none`: those of the last step. `ema`: an exponential
    moving average over the steps. `swa`: the mean over the last steps, with the statistics of batch normalisation
    computed anew from the training images at each validation and at the end."""
    averaging_decay: float = Field(default=0.999, ge=0, lt=1)
    """For `ema`: the share of the average that stays at each step. It begins lower: (1 + t) / (10 + t) at step t."""
    averaging_start: float = Field(default=0.75, ge=0, lt=1)
    """For `swa`: the share of the steps before the first one that is averaged."""
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"
    """On several ranks: batch normalisation by the statistics of the whole batch, as in one process, or on each rank by
    those of its own rows. Part of the identity of a run on several ranks."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What trains the student. `auto`: a CUDA device if there is one."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The type of numbers in the student's forward and backward pass. Weights, losses, evaluation and the stored
    student are float32 with each. `bfloat16`: two to four times as fast on a GPU, an AMD CPU with AVX512-BF16 or an
    Intel CPU with AMX. `float16`: for a GPU without it. `auto`: `bfloat16` on such a device, otherwise `float32`; a
    run that began keeps what it began with. Part of the run's identity."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """The layout of images and weights in memory. `auto`: `contiguous` if `float32` is stated, or on a GPU in
    `float32`; otherwise `channels_last`. A run that began keeps its own. Part of the run's identity, as `threads` is,
    because the last bits of the result differ."""
    compile: bool = False
    """Compile the student with `torch.compile`, which takes up to a minute before the first step. It pays for long
    runs, most on a GPU. Part of the run's identity."""
    threads: int = Field(default=1, ge=1)
    """CPU threads. Part of the run's identity, because another number may change the last bits of the result."""

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, values: Any) -> Any:
        """Read `channels_last`, by which earlier versions set the memory format."""
        if not isinstance(values, dict) or "channels_last" not in values:
            return values
        if "memory_format" in values:
            raise ValueError("channels_last: expected no memory_format beside it, got both; leave out channels_last")
        if not isinstance(values["channels_last"], bool):
            got = values["channels_last"]
            raise ValueError(f"channels_last: expected true or false, got {got!r}")  # noqa: TRY004 - pydantic takes no other
        return with_memory_format(values)

    @model_validator(mode="after")
    def _protocol_is_possible(self) -> "Training":
        if self.protocol == "paper" and self.validation_share == 0:
            raise ValueError("validation_share: expected more than 0, because the paper's protocol stops by validation")
        if self.budget is not None and (self.protocol == "paper" or self.stop_after_steps is not None):
            raise ValueError(
                "budget: expected no value with the protocol 'paper' or with stop_after_steps, which end a training "
                f"otherwise, got {self.budget!r}"
            )
        if self.protocol == "paper" and self.averaging != "none":
            raise ValueError(
                "averaging: expected 'none', because the paper's protocol returns to its best weights, got "
                f"{self.averaging!r}"
            )
        return self

    @property
    def seconds(self) -> float | None:
        """The time that the run may take, if `budget` is one."""
        if not isinstance(self.budget, str) or (time := _TIME.fullmatch(self.budget)) is None:
            return None
        return float(time[1]) * _UNITS[time[2]]

    @property
    def validated_share(self) -> float:
        """The validation share, or its default."""
        if self.validation_share is not None:
            return self.validation_share
        return 0.2 if self.protocol == "paper" else 0.0


def with_memory_format(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `[training]` with `memory_format` in place of `channels_last`, by which earlier versions set it."""
    kept = {name: value for name, value in values.items() if name != "channels_last"}
    return {"memory_format": "channels_last" if values.get("channels_last") else "contiguous"} | kept
