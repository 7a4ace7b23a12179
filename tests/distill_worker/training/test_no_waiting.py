"""No step of any method makes a GPU wait: it reads no value, and nothing is copied between the host and the device.

The steps run on torch's `meta` device, where a tensor has a shape and no value, so no GPU is needed. A mode watches
every operation, also those of the backward pass and of the optimiser.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods import METHODS, Method, Mixing
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.mixup import Mixup
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.relational import CC, PKT, RKD, SP
from distill_worker.methods.single_sample import CE, DKD, KD
from distill_worker.methods.terms import Batch, Objective, Setting
from distill_worker.methods.white_box import AT, VID
from distill_worker.training.loop import _RunningTraining
from distill_worker.training.training_set import Pool, TrainingSet

META = torch.device("meta")
SAMPLES, CLASSES, SIDE = 24, 5, 8
STUDENT = {LOGITS: (CLASSES,), "features.stage2": (6, 4, 4), "features.pooled": (6,)}
TEACHER = {LOGITS: (CLASSES,), "features.stage2": (8, 4, 4), "features.pooled": (8,)}
LEAST_OPERATIONS = 100
"""Of two steps, so that a mode that watches nothing is noticed."""
TRAINING = Training(steps=4, batch_size=8)

ALONE: list[list[Method]] = [[method()] for name, method in METHODS.items() if name != "pseudo-label"]
COMPARED: list[list[Method]] = [
    [CKD(k=k, pairing=pairing, comparison=comparison, others=16)]
    for k in (2, 3, 4)
    for pairing in ("all", "drawn", "memory", "anchors")
    for comparison in ("difference", "addition", "interpolation", "concatenation")
]
REPRESENTED: list[list[Method]] = [
    [method(on=on)] for method in (CKD, RKD, SP, CC, PKT, CRD) for on in ("log_probabilities", "features")
]
OTHERS: list[list[Method]] = [
    [CKD(label_term="comparative")],
    [CKD(on="features", pairing="memory")],
    [AT(), VID(), CKD(pairing="anchors"), DKD()],
    [Mixup(alpha=0.2), CKD(k=3)],
    [KD(), PseudoLabel()],
]


class Waited(Exception):
    """A GPU would be waited for."""


class NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises `Waited` at an operation that reads a value, or that takes or gives a tensor on the CPU."""

    READS: ClassVar = ("_local_scalar_dense", "item", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")
    COPIES: ClassVar = ("lift_fresh",)
    """How a number or a list becomes a tensor: on the host first."""
    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        self.operations += 1
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.READS or masks:
            raise Waited(f"{func} reads a value, or has a shape that depends on values")
        if name in self.COPIES:
            raise Waited(f"{func} copies numbers to the device that Python holds")
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            raise Waited(f"{func} takes or makes a tensor on the CPU")
        return result


class MetaGenerator(torch.Generator):
    """A generator that says it is on the `meta` device, for which torch has none."""

    def __new__(cls, _device: object = None) -> "MetaGenerator":
        """A generator of the CPU, which operations on that device take."""
        return super().__new__(cls)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device that draws are made on."""
        return META


class Student(nn.Sequential):
    """A small network with the layers that methods use."""

    def __init__(self) -> None:
        super().__init__()
        self.stage2 = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(6, CLASSES)


@pytest.fixture(autouse=True)
def _everything_on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch has neither generators nor autocast there."""
    monkeypatch.setattr(torch, "Generator", MetaGenerator)
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_options: nullcontext())
    with torch.device(META):  # modules and data; the steps leave it
        yield


def _rows(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {kind: torch.empty(SAMPLES, *shape) for kind, shape in shapes.items()}


def _data(pool: Pool | None = None, *, features: bool = True) -> TrainingSet:
    return TrainingSet(
        images=torch.empty(SAMPLES, 3, SIDE, SIDE, dtype=torch.uint8),
        label_probabilities=torch.empty(SAMPLES, CLASSES),
        labels=torch.empty(SAMPLES, dtype=torch.int64),
        preprocessing=Preprocessing(
            mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), crop_padding=2, horizontal_flip=True, channels_last=True
        ),
        targets=_rows(TEACHER if features else {LOGITS: TEACHER[LOGITS]}),
        pool=pool,
    )


def _pool(*, labelled: bool) -> Pool:
    images = torch.empty(2 * SAMPLES, 3, SIDE, SIDE, dtype=torch.uint8)
    return Pool(images, torch.empty(2 * SAMPLES, dtype=torch.int64) if labelled else None)


def _take_two_steps(objective: Objective, data: TrainingSet) -> int:
    """Two steps of the loop, the first of which may differ; the number of operations that were watched."""
    run = _RunningTraining(Student(), objective, data, TRAINING)
    run.set_training_mode()
    with torch.device("cpu"), NoWaiting() as mode:  # type: ignore[no-untyped-call]
        for _ in range(2):
            run.step()
        operations: int = mode.operations
    return operations


def _objective(methods: list[Method], data: TrainingSet) -> Objective:
    return Objective(methods, Setting(CLASSES, TRAINING.steps, STUDENT, data.targets))


@pytest.mark.parametrize(
    "methods", [*ALONE, *COMPARED, *REPRESENTED, *OTHERS], ids=lambda methods: " + ".join(map(repr, methods))[:120]
)
def test_no_step_makes_a_gpu_wait(methods: list[Method]) -> None:
    pool = _pool(labelled=False) if any(method.needs_pool for method in methods) else None
    data = _data(pool, features=not isinstance(methods[0], Mixing))
    assert _take_two_steps(_objective(methods, data), data) > LEAST_OPERATIONS


@pytest.mark.parametrize("method", [CE(), CKD()])
def test_no_step_with_a_labelled_pool_makes_a_gpu_wait(method: Method) -> None:
    data = _data(_pool(labelled=True))
    assert _take_two_steps(_objective([method], data), data) > LEAST_OPERATIONS


def _planted(read: Callable[[Tensor], Any]) -> type[nn.Module]:
    class Planted(nn.Module):
        def forward(self, batch: Batch) -> Tensor:
            read(batch.student[LOGITS].detach())
            return batch.student[LOGITS].sum()

    return Planted


@pytest.mark.parametrize(
    "read",
    [
        lambda logits: float(logits.sum()),
        lambda logits: bool((logits > 0).any()),
        lambda logits: logits[0].tolist(),
        lambda logits: logits[logits > 0],
        lambda logits: (logits > 0).nonzero(),
        lambda logits: logits.cpu(),
        lambda logits: torch.equal(logits, logits),
        lambda logits: logits[torch.arange(2)],
        lambda logits: logits[[0, 1]],
        lambda logits: logits + torch.ones(CLASSES),
        lambda logits: torch.tensor([1.0, 2.0], device=logits.device),
        lambda logits: torch.randperm(8).to(logits.device),
    ],
    ids=[
        "float", "bool", "tolist", "mask", "nonzero", "cpu", "equal", "index on the CPU", "index in a list",
        "tensor on the CPU", "tensor from a list", "draws on the CPU",
    ],
)  # fmt: skip
def test_read_in_a_term_is_caught(read: Callable[[Tensor], Any]) -> None:
    """Otherwise the tests above could not fail."""
    data = _data()
    objective = _objective([CE()], data)
    objective.terms["label"] = _planted(read)()
    with pytest.raises((Waited, RuntimeError, NotImplementedError), match=r"reads|copies|CPU|meta|nonzero"):
        _take_two_steps(objective, data)
