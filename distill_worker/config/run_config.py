"""What a run is: one TOML file, every key known, saved with the run.

A key that is not listed here is an error that names it. Secrets are never here: the API key comes from the
environment (TEACHER_API_KEY, or the file that TEACHER_API_KEY_FILE names).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.datasets import DATASETS
from distill_worker.data.selection import STRATEGIES
from distill_worker.methods import AnyMethod, Method, Mixing, method_name, why_not_together, why_not_with
from shared.output_kinds import AUTO, OutputKind


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Which data set, and where its files are kept."""

    name: str
    """One of `distill-worker datasets`."""
    root: Path = Path("data")
    """The folder that data sets with a fixed home live in."""
    path: Path | None = None
    """The file or folder, for data of your own: npz, image-folder, medmnist, hugging-face."""
    image_size: tuple[int, int] | None = None
    """Height and width that image files are resized to, where they differ."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(f"expected one of {', '.join(DATASETS)}")
        return name


class TeacherAddress(_Section):
    """Where outputs are bought, in which protocol, and how fast."""

    protocol: Literal["open-inference", "labelled-scores"] = "open-inference"
    """`open-inference`: the Open Inference Protocol v2 of our service, Triton, KServe. `labelled-scores`: one image
    file a request, answered by the likeliest labels with their scores."""
    url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://")
    """TEACHER_URL in the environment wins over it. For `labelled-scores`, where images are posted to."""
    model: str = "teacher"
    output: str = "auto"
    """What is bought in the place of logits, one of `logits`, `log_probabilities`, `probabilities[:digits]`,
    `top_k:k[:digits]`, `label`; `auto` is what tells most of all that the teacher offers (docs/outputs.md)."""
    label_smoothing: float = Field(default=0.1, gt=0, lt=0.5)
    """For `label`: what the other classes get together."""
    model_version: str | None = Field(default=None, min_length=1)
    """What the model's version is called, where the teacher does not say before it is paid."""
    num_classes: int | None = Field(default=None, ge=2)
    """How many there are, where the teacher does not say."""
    request_size: int = Field(default=32, ge=1)
    """Samples a request."""
    concurrency: int = Field(default=16, ge=1, le=64)
    """Requests in flight at once, at most; how many there are follows from how the teacher takes them."""
    timeout_seconds: float = Field(default=60, gt=0)
    give_up_after_seconds: float = Field(default=120, ge=0)
    """How long one request is retried through failures that may pass."""
    repeats_are_free: bool | None = None
    """Whether a request that is repeated under its Idempotency-Key is charged once; absent: as the teacher says."""
    binary: bool = True
    """For `open-inference`: images travel in binary, if the teacher can read that; else as JSON."""
    input_name: str = "images"
    """For `open-inference`: the tensor that takes the images."""
    output_name: str = "logits"
    """For `open-inference`: the tensor that holds the logits."""
    labels: dict[str, Annotated[int, Field(ge=0)]] = {}
    """For `labelled-scores`: the class, counted from 0, of each label that the teacher may give."""
    top_k: int = Field(default=5, ge=1)
    """For `labelled-scores`: how many labels it gives."""
    score_digits: int | None = Field(default=None, ge=0, le=8)
    """For `labelled-scores`: to how many digits after the point its scores are rounded, where that is known."""
    price_per_call: float | None = Field(default=None, ge=0)
    """What the answer for one sample costs, in money."""
    currency: str = Field(default="USD", min_length=1, max_length=8)

    @field_validator("output")
    @classmethod
    def _is_a_distribution(cls, output: str) -> str:
        if output == AUTO:
            return output
        kind = OutputKind.parse(output)
        if kind.is_features:
            raise ValueError("expected a distribution; a method says which features it needs")
        return str(kind)

    @model_validator(mode="after")
    def _labels_say_what_they_mean(self) -> "TeacherAddress":
        if self.protocol == "labelled-scores" and not self.labels:
            raise ValueError("labels: expected the class of each label that the teacher may give, got none")
        if len(set(self.labels.values())) < len(self.labels):
            raise ValueError("labels: expected one label for each class, and some have several")
        return self


class Budget(_Section):
    """How many samples the student may learn from, and which."""

    n: int | None = Field(default=None, ge=2)
    """Samples of the training set; one teacher call each. All of them when absent."""
    seed: int = 0
    """Which samples. The same seed with a larger n keeps every sample of the smaller n, if the strategy is nested."""
    strategy: str = "random"
    """One of `distill-worker strategies`."""
    features: str = "pixels"
    """What k-center and typical compare samples by: `pixels`, or a weights file, for what its last layer takes."""
    rounds: int = Field(default=1, ge=1)
    """For entropy, margin and badge: so many purchases, each chosen with a student that learnt from those before."""
    first: str = "random"
    """The strategy of the first round, where there is no student yet."""

    @field_validator("strategy", "first")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise ValueError(f"expected one of {', '.join(STRATEGIES)}")
        return name

    @model_validator(mode="after")
    def _rounds_are_possible(self) -> "Budget":
        needs_student = STRATEGIES[self.strategy].needs_student
        if needs_student and self.rounds == 1:
            raise ValueError(f"rounds: expected at least 2, for {self.strategy} chooses with a student, got 1")
        if not needs_student and self.rounds > 1:
            raise ValueError(f"rounds: expected 1, for {self.strategy} chooses without a student, got {self.rounds}")
        if not needs_student and self.first != "random":
            raise ValueError(f"first: expected nothing, for {self.strategy} has one round, got {self.first!r}")
        if STRATEGIES[self.first].needs_student:
            raise ValueError(f"first: expected a strategy that needs no student, got {self.first!r}")
        used = self.first if needs_student else self.strategy
        if self.features != "pixels" and "features" not in STRATEGIES[used].needs:
            raise ValueError(f"features: expected nothing, for {used} looks at none, got {self.features!r}")
        if self.rounds > 1 and self.n is None:
            raise ValueError("n: required with rounds")
        if self.rounds > 1 and self.rounds >= (self.n or 0):
            raise ValueError(f"rounds: expected fewer than the {self.n} samples, got {self.rounds}")
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples that each round buys: equal shares of n, the remainder with the first. Nothing without n."""
        if self.n is None:
            return ()
        share, rest = divmod(self.n, self.rounds)
        return (share + rest, *[share] * (self.rounds - 1))


class Student(_Section):
    """The network to train."""

    network: str


class LabelNoise(_Section):
    """Wrong labels among the training set's."""

    kind: Literal["symmetric", "pairwise"] = "symmetric"
    """`symmetric`: any other class. `pairwise`: the next class."""
    rate: float = Field(gt=0, le=1)


class Imbalance(_Section):
    """Classes that become rarer than others."""

    kind: Literal["exponential", "step"] = "exponential"
    ratio: float = Field(gt=1)
    """Samples of the largest class for each sample of the smallest."""


class Corruption(_Section):
    """What is deliberately wrong with the training data; the test data stay as they are."""

    label_noise: LabelNoise | None = None
    imbalance: Imbalance | None = None
    seed: int = 0


class Augmentation(_Section):
    """What a training image goes through. Absent values are the data set's own."""

    crop_padding: int | None = Field(default=None, ge=0)
    """Pixels of zero padding before a random crop to the old size."""
    horizontal_flip: bool | None = None
    query_view: Literal["original", "augmented"] = "original"
    """What the teacher is asked about: the image itself, or one augmented view of it, as in the paper. The student sees
    fresh crops and flips of the image against that stored output."""


class Training(_Section):
    """The optimisation: SGD with momentum."""

    seed: int = 0
    """Initial weights, batch order, augmentation, drawn groups."""
    protocol: Literal["steps", "paper"] = "steps"
    """`steps`: a fixed number of steps whatever n is. `paper`: epochs of n samples; when validation accuracy has not
    risen for `patience_epochs`, back to the best weights with a tenth of the learning rate, three times."""
    steps: int = Field(default=600, ge=1)
    """For `steps`."""
    stop_after_steps: int | None = Field(default=None, ge=1)
    """For `steps`: end here, with the schedule of `steps` unfinished; a half-trained teacher is made so."""
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    """For `steps`."""
    patience_epochs: int = Field(default=50, ge=1)
    max_epochs: int = Field(default=1000, ge=1)
    validation_share: float | None = Field(default=None, ge=0, lt=1)
    """Of the n samples and the validation samples together; the latter are not bought. 0.2 for `paper`, else 0."""
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    channels_last: bool = False
    """The layout of images in memory. Often faster where channels are many or a GPU does the work; measure it. Part of
    the run, like `threads`: the last bits differ."""
    threads: int = Field(default=1, ge=1)
    """CPU threads. Part of the run: another number may change the last bits."""

    @model_validator(mode="after")
    def _protocol_can_be_followed(self) -> "Training":
        if self.protocol == "paper" and self.validation_share == 0:
            raise ValueError("validation_share: expected more than 0, for the paper's protocol stops by validation")
        return self

    @property
    def validated_share(self) -> float:
        """The validation share, filled in."""
        if self.validation_share is not None:
            return self.validation_share
        return 0.2 if self.protocol == "paper" else 0.0


class Output(_Section):
    """Where things are written."""

    directory: Path = Path("runs/default")
    cache: Path | str = Path("runs/cache.sqlite")
    """The store of bought outputs, to share between runs: a SQLite file, or the URL of a PostgreSQL database
    (`postgresql://...`) that several machines share."""

    @field_validator("cache", mode="before")
    @classmethod
    def _file_or_database(cls, cache: object) -> object:
        if isinstance(cache, str) and "://" in cache:
            if not cache.startswith(("postgresql://", "postgresql+psycopg://")):
                raise ValueError(f"expected a file or postgresql://..., got {cache.split('://')[0]}://...")
            return cache
        return Path(cache) if isinstance(cache, str) else cache


Track = Literal["queried", "labelled-pool", "unlabelled-pool"]
"""What the student may train on besides the n queried samples with their labels: nothing; all training images with
their labels; or all training images without labels."""


_NOT_OF_THE_RESULT: Any = {
    "teacher": True,
    "output": True,
    "data": {"root", "path"},
    "budget": {"features"},
    "training": {"checkpoint_every"},
}
"""Settings that no result depends on, but through the samples and the outputs, which are compared themselves."""


class RunConfig(_Section):
    """One run, whole."""

    track: Track = "queried"
    data: Data
    student: Student
    method: AnyMethod
    plus: tuple[AnyMethod, ...] = ()
    """Methods whose terms are added to the method's own: [[plus]] sections."""
    teacher: TeacherAddress = TeacherAddress()
    budget: Budget = Budget()
    corruption: Corruption = Corruption()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    output: Output = Output()

    @property
    def identity(self) -> RunIdentity:
        """The values that a result depends on: not where the teacher is, nor where files are."""
        return RunIdentity(
            values=self.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT),
            changed=self.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT, exclude_defaults=True),
        )

    @property
    def methods(self) -> tuple[Method, ...]:
        """The method and those added to it."""
        return (self.method, *self.plus)

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The kinds of teacher output that methods ask for, in order; none when no method asks a teacher.

        `logits` stands for the distribution that is bought: see `offer.kinds_to_buy`.
        """
        return tuple(sorted({kind for method in self.methods for kind in method.teacher_kinds}))

    @property
    def needs_teacher(self) -> bool:
        """Whether outputs have to be bought."""
        return bool(self.teacher_kinds)

    @model_validator(mode="after")
    def _sections_agree(self) -> "RunConfig":
        for added in self.plus:
            if added.label_weight != type(added).model_fields["label_weight"].default:
                raise ValueError("plus: label_weight is the first method's to say; leave it out of [[plus]]")
        if (reason := why_not_together(self.methods)) is not None:
            raise ValueError(f"plus: {reason}")
        if self.teacher.output != AUTO and (reason := why_not_with(self.methods, self.teacher.output)) is not None:
            raise ValueError(f"teacher.output: {reason}")
        uses_pool = any(method.needs_pool for method in self.methods)
        if uses_pool != (self.track == "unlabelled-pool"):
            raise ValueError(
                "track: 'unlabelled-pool' and a method that learns from such a pool (pseudo-label) go together, got "
                f"{self.track!r} with {', '.join(method_name(method) for method in self.methods)}"
            )
        widest = max((getattr(method, "k", 2) for method in self.methods), default=2)
        smallest = min([self.training.batch_size, *self.budget.sizes[:1]])
        if widest > smallest:
            raise ValueError(f"method.k: expected at most the batch ({smallest} samples), got {widest}")
        chosen_by = (self.budget.first, self.budget.strategy)
        if self.track == "unlabelled-pool" and any("labels" in STRATEGIES[name].needs for name in chosen_by):
            raise ValueError(
                "budget.strategy: class-balanced looks at the labels of all samples, and in the track unlabelled-pool "
                "there are none"
            )
        if self.budget.rounds > 1 and any(isinstance(method, Mixing) and method.mixtures for method in self.methods):
            raise ValueError(
                "budget.rounds: expected 1 with bought mixtures, which every round would buy anew, got "
                f"{self.budget.rounds}"
            )
        return self
