"""`distill-worker demo`: a comparison on one machine, with real processes and real files.

A teacher is trained and served behind a quota. Students learn from n of its outputs: with CE, KD and CKD from the same
random samples; with what `auto` chooses, from the n samples that it selects in rounds, alone and with the images that
were not bought. Each demo trains the students again, so equal accuracies show that training is reproducible.
"""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Final

from distill_worker.buying.plan import Advice, Plan
from distill_worker.config.stages.automatic import AUTO, rounds_of
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import Comparison, parse_comparison
from distill_worker.experiments.comparison.compare import run_comparison, within_quota
from distill_worker.experiments.display import SILENCE, Display
from shared.expectations import no_choice

_ADVICE: Final = Advice(
    "--n", lower="lower --n", has_max_calls=False, enlarge="set a larger --quota in another --directory"
)


@dataclass(frozen=True)
class _Preset:
    teacher_network: str
    teacher_steps: int
    student_network: str
    steps: int
    n: int
    queried_steps: int | None = None
    """Of `auto` without the pool. Absent: as many as it chooses."""
    pool_steps: int | None = None
    """Of each network of `auto` with the pool. Absent: as many as it chooses."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of the comparison."""
        usual, queried, pool = (
            {} if steps is None else {"training": {"steps": steps}}
            for steps in (self.steps, self.queried_steps, self.pool_steps)
        )
        return [
            *({"label": name, "method": {"name": name}, "settings": usual} for name in ("ce", "kd", "ckd")),
            {"label": "auto, queried", "method": {"name": AUTO}, "settings": {**queried, "track": "queried"}},
            {"label": AUTO, "method": {"name": AUTO}, "settings": pool},
        ]


_PRESETS = {
    "digits": _Preset("resnet8x4", 300, "resnet8", steps=400, n=50, pool_steps=400),
    "fashion-mnist": _Preset("wrn_16_2", 1500, "resnet8", steps=800, n=500),
}


@dataclass(frozen=True)
class Demo:
    """The settings of a demo, and the folder of its files."""

    data: str
    n: int
    seeds: int
    quota: int
    directory: Path
    preset: _Preset

    @classmethod
    def of(cls, data: str, *, n: int | None, seeds: int, quota: int | None, directory: Path) -> "Demo":
        """Fill absent values from the data set's preset. Raises `ConfigError` for another data set."""
        preset = _PRESETS.get(data)
        if preset is None:
            raise ConfigError(f"--data: {no_choice(data, _PRESETS)}")
        calls = n or preset.n
        return cls(data, calls, seeds, _most_calls(calls, seeds) if quota is None else quota, directory / data, preset)

    def comparison(self) -> Comparison:
        """The comparison that the demo runs."""
        preset = self.preset
        return parse_comparison(
            {
                "compare": {
                    "directory": self.directory,
                    "n": [self.n],
                    "seeds": self.seeds,
                    "same_samples": True,
                    "teacher": {"network": preset.teacher_network, "steps": preset.teacher_steps},
                    "quota": self.quota,
                    "baseline": "kd",
                    "methods": preset.rows,
                },
                "data": {"name": self.data},
                "student": {"network": preset.student_network},
            },
            source="demo",
        )


def _most_calls(n: int, seeds: int) -> int:
    """The random samples, the first round of `auto`, and the other rounds of each of its students, in two tracks."""
    first = ceil(n / rounds_of(n))
    return n + first + 2 * seeds * (n - first)


def run_demo(demo: Demo, display: Display = SILENCE) -> dict[str, Any]:
    """Run a demo; the facts of its comparison, and `n` as one number."""

    def on_plan(plan: Plan) -> bool:
        return within_quota(replace(plan, advice=_ADVICE))

    return {**run_comparison(demo.comparison(), fresh=True, on_plan=on_plan, display=display), "n": demo.n}
