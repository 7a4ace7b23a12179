"""The sections about data: `[data]`, `[budget]`, `[corruption]` and `[augmentation]`."""

from math import ceil
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from distill_worker.config.section import ImageSize, Section
from distill_worker.data.datasets import (
    DATASETS,
    NEWEST,
    Labels,
    Rules,
    Unreadable,
    has_files,
    is_there,
    takes_class_names,
)
from distill_worker.data.selection import PIXELS, STRATEGIES, STUDENT
from shared.expectations import no_choice


class Data(Section):
    """The data set, and where its files are."""

    name: str
    """One of `distill-worker datasets`."""
    root: Path = Path("data")
    """The folder of the data sets that have a fixed place."""
    path: Path | None = None
    """The file or folder of your own data: npz, image-folder, webdataset, medmnist, hugging-face."""
    image_size: ImageSize | None = None
    """Height and width that image files are resized to, if their sizes differ."""
    store: Path = Path("runs/decoded")
    """The folder in which the pixels of your own image files are kept, so that they are decoded once."""
    unreadable: Unreadable = "error"
    """What is done with image files that cannot be read: an `error` names them; `skip` leaves them out, and says so."""
    rules: Rules | None = None
    """The version of the rules by which your own image files become pixels: 1 or 2 (docs/pictures.md). Default: those
    that the run began with, or else the newest."""
    labels: Labels = "given"
    """`none`: the training images have no labels, or theirs are not used (docs/unlabelled.md). The default of a folder
    in which images lie side by side, and of a list of images, is `none`."""
    class_names: tuple[str, ...] = ()
    """The names of the teacher's classes in its own order, for your own data without labels. Default: those that the
    teacher states."""
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

    @property
    def has_labels(self) -> bool:
        """Whether the training images have labels that are used."""
        return self.labels == "given"

    @property
    def rules_used(self) -> Rules:
        """The rules by which image files become pixels."""
        return self.rules or NEWEST

    @property
    def rule_facts(self) -> dict[str, int]:
        """What identifies these rules, where they matter."""
        return {"picture_rules": self.rules_used} if has_files(self.name) else {}

    @property
    def takes_class_names(self) -> bool:
        """Whether the classes are the teacher's, because nothing in the data names them."""
        return not self.has_labels and takes_class_names(self.name)

    @field_validator("name")
    @classmethod
    def _is_listed(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(no_choice(name, DATASETS))
        return name

    @model_validator(mode="after")
    def _rules_are_needed(self) -> "Data":
        if self.rules is not None and not has_files(self.name):
            raise ValueError(f"rules: expected no value, because {self.name} has no image files, got {self.rules}")
        return self

    @model_validator(mode="after")
    def _class_names_are_needed(self) -> "Data":
        if self.class_names and not self.takes_class_names:
            raise ValueError(
                "class_names: expected no value, because the data name their classes, got "
                f"{len(self.class_names)} names; they are for your own data with labels = 'none'"
            )
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("class_names: expected a name of its own for each class, got one several times")
        return self


_LEAST_HELD_OUT: Final = 50
_LEAST_N_TO_HOLD_OUT: Final = 200
"""With fewer samples, none can be spared: agreement with the teacher is cross-fitted."""
_LEAST_N_TO_CROSS_FIT: Final = 10
FIDELITY_FOLDS: Final = 5
"""The folds of the cross-fitting."""


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
    holdout: int | None = Field(default=None, ge=0)
    """How many of the n samples are drawn at random, bought, and never trained on: on them the student is compared
    with its teacher. Default: a tenth of n and at least 50, if the data have no labels and n is 200 or more; else none.
    Without labels and below 200, the comparison is cross-fitted (docs/unlabelled.md)."""

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
        if self.n is not None and self.n - (self.holdout or 0) < max(2, self.rounds):
            raise ValueError(f"holdout: expected fewer than n, which leaves samples to train on, got {self.holdout}")
        return self

    @property
    def needs_student(self) -> bool:
        """Whether every round but the first selects with the student of the round before."""
        return STRATEGIES[self.strategy].needs_student or self.features == STUDENT

    def held_out(self, available: int, *, has_labels: bool) -> int:
        """How many samples are held out, of so many that the data have."""
        if self.holdout is not None:
            return self.holdout
        n = available if self.n is None else self.n
        return 0 if has_labels or n < _LEAST_N_TO_HOLD_OUT else max(_LEAST_HELD_OUT, ceil(n / 10))

    @property
    def is_cross_fitted(self) -> bool:
        """Whether agreement with the teacher is cross-fitted, if the data have no labels."""
        return self.holdout is None and _LEAST_N_TO_CROSS_FIT <= (self.n or 0) < _LEAST_N_TO_HOLD_OUT

    def without_held_out(self, held_out: int) -> "Budget":
        """The budget of the samples that are trained on."""
        return self if self.n is None or not held_out else self.model_copy(update={"n": self.n - held_out})

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
    """`exponential`: each class is smaller than the one before by the same factor. `step`: the second half of the
    classes is small."""
    ratio: float = Field(gt=1)
    """Samples of the largest class for each sample of the smallest."""


class Corruption(Section):
    """Faults that are put into the training data on purpose. The test data stay as they are."""

    label_noise: LabelNoise | None = None
    """Without the section, labels stay as they are."""
    imbalance: Imbalance | None = None
    """Without the section, classes keep their sizes."""
    seed: int = 0
    """The seed of both."""


Policy = Literal["crop-flip", "strong", "half-strong", "resized-crop"]
"""How training images are augmented: see `Augmentation.policy`."""


class Augmentation(Section):
    """How a training image is augmented. The default crop and flip are those of the data set."""

    policy: Policy = "crop-flip"
    """`crop-flip`: a random crop, and a flip if the data set permits it. `strong`: then also a random rotation, scale,
    shear and shift, another gamma, contrast and brightness, and a box that is cut out (Cutout). `half-strong`: one of
    the two, drawn anew for each view. `resized-crop`, for photographs: a random part, resized to the size of the
    image, and a flip."""
    smallest_crop: float = Field(default=0.35, gt=0, le=1)
    """For `resized-crop`: the smallest area of the part, divided by that of the image."""
    crop_padding: int | None = Field(default=None, ge=0)
    """Pixels of zero padding before a random crop to the original size."""
    horizontal_flip: bool | None = None
    """Whether half of the images, drawn anew for each view, are mirrored."""
    query_view: Literal["original", "augmented"] = "original"
    """The image that the teacher answers for: the original, or one crop of it, flipped or not, as in the paper. The
    student sees newly augmented views of that image, always with the same stored output."""
