"""The candidates: combinations of settings, and the run that a candidate makes of the configured one."""

from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import product
from typing import Any

from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.tuning import Tuning


@dataclass(frozen=True)
class Candidate:
    """Settings; None leaves one as it is configured."""

    term_weight: float | None = None
    """The factor of the weights of the methods' terms."""
    weight_decay: float | None = None
    learning_rate: float | None = None
    temperature: float | None = None
    steps: int | None = None
    policy: str | None = None
    """Of the augmentation."""

    def settings(self) -> dict[str, Any]:
        """Those that are set, by name; JSON-able."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return (
            ", ".join(f"{name} {_shown(value)}" for name, value in self.settings().items()) or "the configured settings"
        )

    def steps_of(self, config: RunConfig) -> int:
        """The steps of a training with these settings."""
        return self.steps or config.training.steps

    def applied(self, config: RunConfig) -> RunConfig:
        """The run with these settings in the place of its own."""
        method, *plus = config.methods
        if (factor := self.term_weight) is not None:
            method, *plus = [each.scaled(factor) for each in (method, *plus)]
        if (temperature := self.temperature) is not None:
            method, *plus = [each.softened(temperature) for each in (method, *plus)]
        names = ("weight_decay", "learning_rate", "steps")
        changed = {name: value for name, value in self.settings().items() if name in names}
        training = config.training.model_copy(update=changed)
        augmentation = config.augmentation
        if self.policy is not None:
            augmentation = augmentation.model_copy(update={"policy": self.policy})
        return config.model_copy(
            update={"method": method, "plus": tuple(plus), "training": training, "augmentation": augmentation}
        )


def candidates(tuning: Tuning, seed: int) -> list[Candidate]:
    """The grid, in the order of its lists; of a larger one, `tuning.trials` candidates that are drawn by the seed."""
    lists: dict[str, tuple[Any, ...]] = {
        "term_weight": tuning.term_weights,
        "weight_decay": tuning.weight_decays,
        "learning_rate": tuning.learning_rates,
        "temperature": tuning.temperatures,
        "steps": tuning.steps,
        "policy": tuning.policies,
    }
    tried = {name: values for name, values in lists.items() if values}
    grid = [Candidate(**dict(zip(tried, settings, strict=True))) for settings in product(*tried.values())]

    def draw(candidate: Candidate) -> bytes:
        return sha256(f"candidate:{seed}:{candidate.settings()}".encode()).digest()

    drawn = set(sorted(grid, key=draw)[: tuning.trials])
    return [candidate for candidate in grid if candidate in drawn]


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
