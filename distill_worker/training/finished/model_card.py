"""The model card of an export: a README.md, with the metadata that the Hugging Face hub reads.

Its code goes the whole way from a picture to a class, and reads preprocessing and classes from the exported file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import torch

from distill_worker.training.finished.formats import Format
from distill_worker.training.finished.images import rules_of
from distill_worker.training.finished.student import FinishedStudent, RunFacts
from distill_worker.training.finished.usage import usage
from shared.weights import WeightsCard

_LIBRARIES: Final = {"safetensors": "tuition", "onnx": "onnx", "torch-export": "pytorch"}
"""The hub's `library_name` of each format: the library that opens the file."""
_TASK: Final = "image-classification"


@dataclass(frozen=True)
class Exported:
    """An exported file, which was compared with the PyTorch student."""

    file: str
    """Its name."""
    format: Format
    largest_difference: float
    """Of two logits."""
    origin: str
    """The images that were compared, in words."""


def model_card(student: FinishedStudent, exported: Exported) -> str:
    """The text of the README.md beside an exported file.

    Raises:
        RunError: see `FinishedStudent.facts`.
    """
    facts, card = student.facts(), student.card
    data = facts.data or card.provenance.get("data")
    title = f"{card.network} on {data}" if data else card.network
    metadata = _metadata(student, title, facts, exported.format.name)
    rows = "\n".join(f"| {name} | {value} |" for name, value in _rows(student, facts, exported))
    return f"""---
{metadata}
---

# {title}

An image classifier for {card.num_classes} classes, trained and exported with Tuition. `{exported.file}` is
{exported.format.description}.

| | |
|---|---|
{rows}

## Input

{_input(card)}

## Classes

In the order of the logits:

```json
{json.dumps(card.class_names, ensure_ascii=False)}
```

## How to use

{usage(card, exported.file, exported.format.name, rules_of(card))}"""


def _metadata(student: FinishedStudent, title: str, facts: RunFacts, format_name: str) -> str:
    """YAML, of which JSON is a part."""
    distilled = ["knowledge-distillation"] if _teacher(student, facts) else []
    metadata: dict[str, Any] = {
        "library_name": _LIBRARIES[format_name],
        "pipeline_tag": _TASK,
        "tags": [_TASK, *distilled, "tuition", format_name],
    }
    if facts.accuracy is not None:
        metric = {"type": "accuracy", "name": "test accuracy", "value": facts.accuracy}
        dataset = {"name": facts.data or "unknown", "type": facts.data or "unknown"}
        result = {"task": {"type": _TASK}, "dataset": {**dataset, "split": "test"}, "metrics": [metric]}
        metadata["model-index"] = [{"name": title, "results": [result]}]
    return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in metadata.items())


def _rows(student: FinishedStudent, facts: RunFacts, exported: Exported) -> Iterator[tuple[str, str]]:
    """The facts of the table."""
    card = student.card
    parameters = sum(values.numel() for values in student.network.parameters())
    yield "network", f"`{card.network}`, {parameters:,} parameters"
    if facts.accuracy is not None:
        counts = "" if facts.test_samples is None else f" ({facts.correct} of {facts.test_samples} test images)"
        yield "test accuracy", f"{facts.accuracy:.2%}{counts}"
    if facts.fidelity is not None:
        samples, how = facts.fidelity["samples"], facts.fidelity["measured_on"]
        yield "agrees with its teacher", f"{facts.fidelity['agreement']:.2%} of {samples} bought images, {how}"
    if teacher := _teacher(student, facts):
        output = facts.teacher_output or card.provenance.get("teacher_output") or "logits"
        yield "distilled from", f"the teacher `{teacher}`, its {output}"
    elif "teacher_id" in card.provenance:
        yield "distilled from", "no teacher; it learnt from labels"
    if facts.calls is not None:
        yield "teacher calls", f"{facts.calls:,}"
    if facts.method is not None:
        yield "method", f"{facts.method}, track {facts.track}, n = {facts.n}, {facts.steps} steps, seed {facts.seed}"
    yield "model version", f"`{student.fingerprint}`, of the weights file"
    yield (
        "largest difference",
        f"{exported.largest_difference:.2g}, between a logit of this file and one of the PyTorch student, on "
        f"{exported.origin}",
    )
    for verb, versions in (("trained with", student.trained_with()), ("exported with", _versions(exported))):
        if versions:
            yield verb, ", ".join(f"{name} {number}" for name, number in versions.items())


def _teacher(student: FinishedStudent, facts: RunFacts) -> str | None:
    """The id of the teacher, if the student had one."""
    return facts.teacher_id or student.card.provenance.get("teacher_id")


def _versions(exported: Exported) -> Mapping[str, str]:
    exporters = ("onnx", "onnxscript") if exported.format.name == "onnx" else ()
    return {"tuition": version("tuition"), "torch": torch.__version__} | {name: version(name) for name in exporters}


def _input(card: WeightsCard) -> str:
    height, width = card.image_size
    colours = {1: "grey ", 3: "RGB "}.get(card.in_channels, "")
    taken = card.resize or card.image_size
    shapes = f"{colours}images of {taken[0]}x{taken[1]} (height x width)"
    resizing = "Resize images of another size to this whole shape, with antialiasing."
    if card.resize is not None:
        resizing = (
            f"Resize images to the whole shape {height}x{width}, as its training did, and the values of their pixels "
            f"to {taken[0]}x{taken[1]}, both with antialiasing."
        )
    return (
        f"float32 `[batch, {card.in_channels}, {taken[0]}, {taken[1]}]`, with a batch of any size: {shapes}. A pixel "
        f"of 0 to 255 becomes `(pixel / 255 - mean) / std`, with mean {list(card.mean)} and std {list(card.std)} of "
        f"the channels. {resizing}"
    )
