"""`distill-worker demo`: the whole story on one machine, with real processes and real files.

A teacher is trained and served behind a quota, n of its outputs are bought once, and CE, KD and CKD students are
trained on the same n samples. Students are trained again at every run, so equal accuracies show that training repeats.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distill_worker import pipeline
from distill_worker.cache import Cache
from distill_worker.config import RunConfig, TeacherAddress, parse_config
from distill_worker.console import notes, progress_bar, show_plan
from distill_worker.errors import ConfigError, TeacherError
from distill_worker.local_service import create_key, served
from distill_worker.targets import load_targets
from distill_worker.teachers.base import Quota
from distill_worker.teachers.oip import OipTeacher

METHODS: tuple[dict[str, Any], ...] = (
    {"name": "ce"},
    {"name": "kd"},
    {"name": "ckd"},
    {"name": "ckd", "pairing": "drawn", "k": 3},
)


@dataclass(frozen=True)
class _Preset:
    teacher_network: str
    teacher_steps: int
    student_network: str
    steps: int
    n: int
    threads: int


_PRESETS = {
    "digits": _Preset("resnet8x4", 300, "resnet8", 400, 50, threads=1),
    "fashion-mnist": _Preset("wrn_16_2", 1500, "resnet8", 800, 500, threads=2),
}


@dataclass(frozen=True)
class Demo:
    """What to demonstrate, and where its files are kept."""

    data: str
    n: int
    seeds: int
    quota: int
    directory: Path
    preset: _Preset

    @classmethod
    def of(cls, data: str, *, n: int | None, seeds: int, quota: int | None, directory: Path) -> "Demo":
        """Fill in what was not said from the data set's preset."""
        preset = _PRESETS.get(data)
        if preset is None:
            raise ConfigError(f"--data: expected one of {', '.join(_PRESETS)}, got {data!r}")
        calls = n or preset.n
        return cls(data, calls, seeds, 2 * calls if quota is None else quota, directory / data, preset)

    def config(self, **sections: Any) -> RunConfig:
        """A run of this demo."""
        given: dict[str, Any] = {"data": {"name": self.data}, **sections}
        return parse_config(given, source="demo")


def run_demo(demo: Demo) -> dict[str, Any]:
    """The demo's facts: `teacher`, `calls_paid`, `cache_hits`, `quota`, `results`, `seconds`."""
    started = time.perf_counter()
    weights, teacher = _prepare_teacher(demo)
    service, key_file = demo.directory / "service", demo.directory / "api-key"
    create_key(service, name="demo", quota=demo.quota, key_file=key_file)
    samples = pipeline.Samples.of(_student_config(demo, {"name": "ckd"}, 0))
    with served(weights, service) as url:
        notes.print(f"serving it at {url}; its ledger and log are in {service}")
        address = TeacherAddress()
        with (
            OipTeacher(
                url,
                model=address.model,
                api_key=key_file.read_text(encoding="ascii").strip(),
                timeout_seconds=address.timeout_seconds,
                give_up_after_seconds=address.give_up_after_seconds,
            ) as client,
            Cache(demo.directory / "cache.sqlite") as cache,
        ):
            description = client.describe()
            before = _quota(client)
            plan, _ = pipeline.buy(
                _student_config(demo, {"name": "ckd"}, 0), samples, client, description, cache, on_plan=show_plan
            )
            targets = load_targets(cache, plan.stream_id, list(samples.wanted))
            results = _train_students(demo, samples, targets, description.id)
            after = _quota(client)
    return {
        "data": demo.data,
        "n": demo.n,
        "teacher": {"id": description.id, **teacher, "weights": str(weights)},
        "student": demo.preset.student_network,
        "calls_paid": after.used - before.used,
        "cache_hits": plan.cached,
        "quota": {"limit": after.limit, "used": after.used, "remaining": after.remaining},
        "results": results,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _prepare_teacher(demo: Demo) -> tuple[Path, dict[str, Any]]:
    preset, directory = demo.preset, demo.directory / "teacher"
    config = demo.config(
        student={"network": preset.teacher_network},
        method={"name": "ce"},
        training={"steps": preset.teacher_steps, "threads": 2, "checkpoint_every": 50},
        output={"directory": directory},
    )
    with progress_bar(f"teacher ({preset.teacher_network} on {demo.data})", preset.teacher_steps) as move:
        result = pipeline.train_student(
            config,
            pipeline.Samples.of(config),
            None,
            None,
            progress=lambda step, loss: move(step, f"loss {loss:.4f}"),
        )
        move(preset.teacher_steps, "")
    return directory / "student.safetensors", {"network": preset.teacher_network, "accuracy": result["accuracy"]}


def _student_config(demo: Demo, method: dict[str, Any], seed: int) -> RunConfig:
    return demo.config(
        student={"network": demo.preset.student_network},
        method=method,
        budget={"n": demo.n},
        training={"steps": demo.preset.steps, "seed": seed, "threads": demo.preset.threads},
        output={
            "directory": demo.directory / "students" / f"{_label(method)}-n{demo.n}-seed{seed}",
            "cache": demo.directory / "cache.sqlite",
        },
    )


def _train_students(
    demo: Demo, samples: pipeline.Samples, targets: torch.Tensor, teacher_id: str
) -> list[dict[str, Any]]:
    results = []
    runs = [(method, seed) for method in METHODS for seed in range(demo.seeds)]
    with progress_bar(f"students ({demo.preset.student_network})", len(runs)) as move:
        for index, (method, seed) in enumerate(runs):
            move(index, f"{_label(method)}, seed {seed}")
            config = _student_config(demo, method, seed)
            bought = (targets, teacher_id) if config.method.needs_teacher else (None, None)
            result = pipeline.train_student(config, samples, *bought, fresh=True)
            results.append({"method": _label(method), "seed": seed, "accuracy": result["accuracy"]})
        move(len(runs), "")
    return results


def _label(method: dict[str, Any]) -> str:
    return f"{method['name']}-k{method['k']}" if "k" in method else str(method["name"])


def _quota(client: OipTeacher) -> Quota:
    quota = client.quota()
    if quota is None:
        raise TeacherError("the demo's own service has no /v1/quota")
    return quota
