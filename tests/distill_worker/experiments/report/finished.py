"""A finished run, a finished comparison and a sweep, made up, as their programs write them."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.results.facts import facts_of_sweep, stored_grid

CLASSES: Final = tuple("0123456789")
HOSTILE: Final = (
    "<script>alert(1)</script>",
    "$x_",
    "Ünïcode & 猫",
    "</style>",
    "a" * 60,
    "5",
    "6",
    '"7"',
    "{{ 8 }}",
    "9|",
)
"""Names of classes that no page may take for markup."""
TEST_SAMPLES: Final = 797
"""Of digits."""


def analysis(classes: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    """The facts of analysis.json, drawn."""
    random = np.random.default_rng(0)
    count = len(classes)
    confusion = np.diag(random.integers(68, 80, count)) + random.binomial(3, 0.2, (count, count))
    factor = random.normal(size=(count, 4))
    student, teacher = (np.corrcoef(factor + random.normal(size=factor.shape) * noise) for noise in (0.4, 0.1))
    confidences = (np.arange(15) + 0.5) / 15
    return {
        "network": "resnet8",
        "classes": list(classes),
        "test": {"samples": int(confusion.sum()), "accuracy": float(np.trace(confusion) / confusion.sum())},
        "calibration": {
            "ece": 0.031,
            "bins": [
                {"confidence": None, "accuracy": None, "samples": 0}
                if place < 4
                else {
                    "confidence": value,
                    "accuracy": max(0.0, value - 0.06 + 0.03 * (place % 3)),
                    "samples": 3 ** (place - 8) if place > 8 else 1,
                }
                for place, value in enumerate(confidences.tolist())
            ],
        },
        "confusion": confusion.tolist(),
        "class_accuracy": (np.diag(confusion) / confusion.sum(axis=1)).tolist(),
        "spectrum": {
            "features": np.exp(-np.arange(64) / 9).tolist(),
            "logits": np.exp(-np.arange(count) / 4).tolist(),
        },
        "effective_rank": {"features": 18.2, "logits": 7.4},
        "fidelity": {"bought": {"samples": 50, "agreement": 0.98, "kl": 0.021}},
        "class_correlation": {"student": student.tolist(), "teacher": teacher.tolist(), "agreement": 0.87},
        "sharpness": {
            "radii": [0.0, 0.1, 0.2, 0.3, 0.4],
            "losses": [0.21, 0.24, 0.4, 0.83, 1.5],
            "deviation": [0.0, 0.01, 0.04, 0.1, 0.2],
        },
        "errors": [{"index": 7 * place, "label": place % count, "top": _top(place + 1, count)} for place in range(24)],
        "disputed": [
            {
                "index": 11 * place,
                "label": place % count,
                "teacher": _top(place, count),
                "student": _top(place + 3, count),
                "kl": 1.4 - place / 20,
            }
            for place in range(12)
        ],
    }


def _top(place: int, count: int) -> list[dict[str, Any]]:
    return [
        {"class": (place + rank) % count, "probability": probability}
        for rank, probability in enumerate((0.71, 0.2, 0.04))
    ]


def write_run(directory: Path, *, analysed: bool = True, classes: tuple[str, ...] = CLASSES) -> Path:
    """The directory of a finished run on digits, without its student."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "result.json", RESULT)
    _write(directory / "run.json", {"identity": IDENTITY, "environment": ENVIRONMENT})
    lines = [
        {
            "step": step,
            "loss": 2.4 * np.exp(-step / 90) + 0.1,
            "label": 0.3 * np.exp(-step / 60) + 0.01,
            "kd": 2.1 * np.exp(-step / 95) + 0.09,
            "learning_rate": 0.05 * (1 + np.cos(np.pi * step / 400)) / 2,
        }
        | ({"validation_accuracy": 0.93 - 0.8 * np.exp(-step / 70)} if step % 32 == 0 else {})
        for step in range(8, 401, 8)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if analysed:
        _write(directory / "analysis.json", analysis(classes))
    return directory


def _write(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts))


RESULT: Final[dict[str, Any]] = {
    "method": "ckd",
    "track": "queried",
    "data": "digits",
    "network": "resnet8",
    "n": 50,
    "calls": 50,
    "protocol": "steps",
    "seed": 0,
    "steps": 400,
    "teacher_id": "3ba4d2146d52460b",
    "teacher_output": "logits",
    "completion": None,
    "accuracy": 744 / TEST_SAMPLES,
    "correct": 744,
    "test_samples": TEST_SAMPLES,
    "best_validation": None,
    "seconds": 12.4,
    "device": "cpu",
    "precision": "float32",
    "memory_format": "channels_last",
    "compile": False,
}
IDENTITY: Final[dict[str, Any]] = {
    "track": "queried",
    "data": {"name": "digits", "image_size": None},
    "student": {"network": "resnet8"},
    "method": {"label_weight": 0.1, "by_classes": False, "name": "kd", "temperature": 4.0, "weight": 0.9},
    "plus": [],
    "budget": {"n": 50, "seed": 0, "strategy": "random", "rounds": 1, "first": "random"},
    "training": {"seed": 0, "protocol": "steps", "steps": 400, "learning_rate": 0.05, "precision": "float32"},
    "tuning": None,
    "samples": "1c11da063037d85b",
    "teacher_id": "3ba4d2146d52460b",
}
ENVIRONMENT: Final[dict[str, Any]] = {
    "python": "3.11.7",
    "torch": "2.15.0+cpu",
    "platform": "Linux-6.18-x86_64",
    "cuda": None,
    "git": "778f986dc84069438488e95fb5d8b9bd3aa02b73",
}


def comparison(
    *, n: tuple[int, ...] = (50, 200, 1000), seeds: int = 3, baseline: str | None = "KD", reference: bool = False
) -> dict[str, Any]:
    """The facts that `compare --json` prints, drawn; see `run_comparison`."""
    from distill_worker.experiments.results.equivalent_calls import equivalents

    random = np.random.default_rng(1)
    rows = {
        "CE": ("queried", 60.0),
        "KD": ("queried", 74.0),
        "CKD": ("queried", 75.0),
        "auto": ("unlabelled-pool", 84.0),
    }
    curve = sorted({*n, 25, 100, 400, 2000, 4000}) if reference else []
    results = [
        {
            "method": method,
            "track": track,
            "n": size,
            "seed": seed,
            "accuracy": min(0.99, (base + 7 * np.log10(size / 25) + random.normal() / 2) / 100),
            "calls": 0 if method == "CE" else size,
            "steps": 400,
            "seconds": round(3 + base / 30 + random.random(), 3),
            "best_validation": None,
        }
        for method, (track, base) in rows.items()
        for size in (sorted({*n, *curve}) if method == "KD" else n)
        for seed in range(seeds)
    ]
    facts = {
        "data": "digits",
        "student": "resnet8",
        "track": "queried, unlabelled-pool",
        "n": list(n),
        "seeds": seeds,
        "baseline": baseline,
        "reference": "KD" if reference else None,
        "reference_n": curve,
        "precision": "float32",
        "teacher": {"id": "3ba4d2146d52460b", "outputs": ["logits"], "network": "resnet8x4", "accuracy": 0.981},
        "calls_paid": 1000,
        "cache_hits": 0,
        "quota": {"limit": 2000, "used": 1000, "remaining": 1000},
        "results": results,
        "seconds": 184.2,
    }
    return facts | {"equivalent_calls": equivalents(facts) if reference else []}


def write_sweep(
    directory: Path,
    *,
    axes: Mapping[str, Sequence[str]],
    n: Sequence[int] = (50, 200),
    seeds: int = 3,
    lacks: int = 0,
    reference: bool = False,
    price: float | None = None,
) -> SweepDirectory:
    """The directory of a sweep of KD and CKD; the last `lacks` students have no result."""
    random, sweep = np.random.default_rng(2), SweepDirectory(directory)
    curve = [25, 50, 100, 200, 400, 800] if reference else []
    values = [dict(zip(axes, of_point, strict=True)) for of_point in product(*axes.values())]
    students: list[dict[str, Any]] = [
        {"id": f"{place}-{row}-{size}-{seed}", "point": point, "method": row, "n": size, "seed": seed}
        for place, point in enumerate(values)
        for size in sorted({*n, *curve})
        for row in ("KD", "CKD")
        if size in n or row == "KD"
        for seed in range(seeds)
    ]
    about = {name: comparison(n=tuple(n), seeds=seeds)[name] for name in ("data", "student", "track", "precision")}
    about |= {"n": list(n), "seeds": seeds, "baseline": "KD", "reference": "KD" if reference else None}
    grid = {
        "version": 1,
        "settings": {},
        "axes": list(axes),
        "question": "Does CKD help?",
        "compares": ["method"],
        "bases": {"method": "KD"},
        "price": None if price is None else {"per_call": price, "currency": "EUR"},
        "command": "distill-worker sweep sweep.toml",
        "file": {"data": {"name": "digits"}, "sweep": {"grid": {name: list(of) for name, of in axes.items()}}},
        "points": [{"point": point, "source": "digits", **about, "reference_n": curve} for point in values],
        "students": [student | {"track": "queried"} for student in students],
    }
    sweep.claim(grid, extend=True)
    sweep.save_source("digits", {"teacher": comparison()["teacher"], "samples": max(n)})
    for student in students[: len(students) - lacks]:
        base = 70 + 8 * np.log10(student["n"] / 25) + (2 if student["method"] == "CKD" else 0)
        accuracy = (base + random.normal() / 2) / 100
        result = {"accuracy": accuracy, "calls": student["n"], "steps": 400, "seconds": 3.1, "best_validation": None}
        sweep.store(student["id"], result)
    return sweep


def sweep_facts(directory: Path, **settings: Any) -> dict[str, Any]:
    """The facts of such a sweep."""
    sweep = write_sweep(directory, **settings)
    return facts_of_sweep(stored_grid(sweep), sweep)
