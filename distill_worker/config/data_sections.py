"""The sections about data: `[data]`, `[budget]`, `[corruption]` and `[augmentation]`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from distill_worker.config.section import ImageSize, Section
from distill_worker.data.datasets import DATASETS, is_there
from distill_worker.data.selection import PIXELS, STRATEGIES, STUDENT
from shared.expectations import no_choice


class Data(Section):
    """The data set, and where its files are."""

    name: str
    """One of `distill-worker datasets`."""
    root: Path = Path("data")
    """The folder of the data sets that have a fixed place."""
    path: Path | None = None
    """The file or folder of your own data: npz, image-folder, medmnist, hugging-face."""
    image_size: ImageSize | None = None
    """Height and width that image files are resized to, if their sizes differ."""
    classes: dict[str, str] = Field(default={})
    """The teacher's name of a class, by the data set's name, for classes whose names differ."""

    @property
    def reads_root(self) -> bool:
        """Whether files are read from `root`: the digits come with scikit-learn, and your own data are at `path`."""
        return self.path is None and self.name != "digits"

    @property
    def is_there(self) -> bool:
        """Whether there are files of the data set, which may be damaged, or some may be absent."""
        return is_there(self.name, self.root) if self.path is None else self.path.exists()

    @field_validator("name")
    @classmethod
    def _is_listed(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(no_choice(name, DATASETS))
        return name


class Budget(Section):
    """How many samples the student learns from, and which."""

    n: int | None = Field(default=None, ge=2)
    """Samples of the training set to use, one teacher call each. Default: all of them; to buy them needs --all or
    --max-calls."""
    seed: int = 0
    """The seed of the choice. Under the same seed, a nested strategy keeps all samples of a smaller n in a larger n."""
    strategy: str = "random"
    """One of `distill-worker strategies`."""
    features: str = PIXELS
    """What coarse-to-fine, k-center and typical compare samples by: `pixels`; `gradients`, for the edges in each part
    of the image; a weights file, for the input of its last layer; or `student`, for that of the student of the round
    before. The first round, which has none, then compares pixels."""
    rounds: int = Field(default=1, ge=1)
    """The number of purchases of a strategy that needs a student, or of the features `student`. Each is chosen with a
    student that was trained on the earlier ones."""
    first: str = "random"
    """The strategy of the first round, which has no student yet."""

    @field_validator("strategy", "first")
    @classmethod
    def _is_listed(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise ValueError(no_choice(name, STRATEGIES))
        return name

    @model_validator(mode="after")
    def _rounds_are_possible(self) -> "Budget":
        used = self.first if self.needs_student and self.features != STUDENT else self.strategy
        if self.features != PIXELS and "features" not in STRATEGIES[used].needs:
            raise ValueError(f"features: expected no value, because {used} uses no features, got {self.features!r}")
        if self.needs_student and self.rounds == 1:
            chooses = self.strategy if self.features != STUDENT else f"{self.strategy} with the features 'student'"
            raise ValueError(f"rounds: expected at least 2, because {chooses} chooses with a student, got 1")
        if not self.needs_student and self.rounds > 1:
            has_features = "features" in STRATEGIES[self.strategy].needs
            hint = f"; with features = {STUDENT!r}, it chooses in rounds" if has_features else ""
            raise ValueError(
                f"rounds: expected 1, because {self.strategy} chooses without a student, got {self.rounds}{hint}"
            )
        if not self.needs_student and self.first != "random":
            raise ValueError(f"first: expected no value, because {self.strategy} has one round, got {self.first!r}")
        if STRATEGIES[self.first].needs_student:
            raise ValueError(f"first: expected a strategy that needs no student, got {self.first!r}")
        if self.rounds > 1 and self.n is None:
            raise ValueError("n: required with rounds")
        if self.rounds > 1 and self.rounds >= (self.n or 0):
            raise ValueError(f"rounds: expected fewer than the {self.n} samples, got {self.rounds}")
        return self

    @property
    def needs_student(self) -> bool:
        """Whether every round but the first selects with the student of the round before."""
        return STRATEGIES[self.strategy].needs_student or self.features == STUDENT

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples that each round buys: equal shares of n, the first with the remainder. Empty if n is not set."""
        if self.n is None:
            return ()
        share, rest = divmod(self.n, self.rounds)
        return (share + rest, *[share] * (self.rounds - 1))


class LabelNoise(Section):
    """Wrong labels in the training set."""

    kind: Literal["symmetric", "pairwise"] = "symmetric"
    """`symmetric`: any other class. `pairwise`: the next class."""
    rate: float = Field(gt=0, le=1)
    """The share of labels that are wrong."""


class Imbalance(Section):
    """Classes with fewer samples than others."""

    kind: Literal["exponential", "step"] = "exponential"
    ratio: float = Field(gt=1)
    """Samples of the largest class for each sample of the smallest."""


class Corruption(Section):
    """Faults that are put into the training data on purpose. The test data stay as they are."""

    label_noise: LabelNoise | None = None
    imbalance: Imbalance | None = None
    seed: int = 0


Policy = Literal["crop-flip", "strong", "half-strong"]
"""How training images are augmented: see `Augmentation.policy`."""


class Augmentation(Section):
    """How a training image is augmented. The default crop and flip are those of the data set."""

    policy: Policy = "crop-flip"
    """`crop-flip`: a random crop, and a flip if the data set permits it. `strong`: then also a random rotation, scale,
    shear and shift, another gamma, contrast and brightness, and a box that is cut out (Cutout). `half-strong`: one of
    the two, drawn anew for each view."""
    crop_padding: int | None = Field(default=None, ge=0)
    """Pixels of zero padding before a random crop to the original size."""
    horizontal_flip: bool | None = None
    query_view: Literal["original", "augmented"] = "original"
    """The image that the teacher answers for: the original, or one crop of it, flipped or not, as in the paper. The
    student sees newly augmented views of that image, always with the same stored output."""
