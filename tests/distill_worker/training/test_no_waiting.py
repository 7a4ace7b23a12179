"""No step of any method makes a GPU wait: it reads no value, and nothing is copied between the host and the device.

The steps run on torch's `meta` device, where a tensor has a shape and no value, so no GPU is needed. A mode watches
every operation, also those of the backward pass and of the optimiser.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill_worker.config.training_section import Training
from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import CE
from distill_worker.methods.terms import Batch
from tests.distill_worker.training.steps import (
    CLASSES,
    EVERY_METHOD,
    SELF_TRAINED,
    TRAINING,
    WITH_VIEWS,
    name_of,
    running,
)

META = torch.device("meta")
LEAST_OPERATIONS = 100
"""Of two steps, so that a mode that watches nothing is noticed."""


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


class NoChecks(TorchFunctionMode):
    """Raises `Waited` at a function that waits for a GPU to check values. On the `meta` device it checks none."""

    CHECKS: ClassVar = (
        "one_hot",
        "linalg_inv",
        "linalg_solve",
        "linalg_cholesky",
        "linalg_eigh",
        "linalg_svd",
        "histc",
    )

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        if getattr(func, "__name__", "") in self.CHECKS:
            raise Waited(f"{func} reads values, to check them")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting() -> Iterator[NoWaiting]:
    """Raise `Waited` where a GPU would be waited for."""
    with NoChecks(), NoWaiting() as mode:  # type: ignore[no-untyped-call]
        yield mode


class MetaGenerator(torch.Generator):
    """A generator that says it is on the `meta` device, for which torch has none."""

    def __new__(cls, _device: object = None) -> "MetaGenerator":
        """A generator of the CPU, which operations on that device take."""
        return super().__new__(cls)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device that draws are made on."""
        return META


@pytest.fixture(autouse=True)
def _generators_and_autocast_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch has neither there."""
    monkeypatch.setattr(torch, "Generator", MetaGenerator)
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_options: nullcontext())


def _operations_of_two_steps(
    methods: Sequence[Method],
    *,
    labelled_pool: bool = False,
    unbought: bool = False,
    views: bool = False,
    training: Training = TRAINING,
) -> int:
    """How many operations were watched. The first step may differ from the others."""
    run = running(methods, META, labelled_pool=labelled_pool, unbought=unbought, views=views, training=training)
    with no_waiting() as mode:
        for _ in range(2):
            run.step()
        operations: int = mode.operations
    return operations


@pytest.mark.parametrize("methods", EVERY_METHOD, ids=name_of)
def test_no_step_makes_a_gpu_wait(methods: list[Method]) -> None:
    assert _operations_of_two_steps(methods) > LEAST_OPERATIONS


@pytest.mark.parametrize("method", [CE(), CKD()])
def test_no_step_with_a_labelled_pool_makes_a_gpu_wait(method: Method) -> None:
    assert _operations_of_two_steps([method], labelled_pool=True) > LEAST_OPERATIONS


@pytest.mark.parametrize("methods", SELF_TRAINED, ids=name_of)
def test_no_step_with_unbought_samples_makes_a_gpu_wait(methods: list[Method]) -> None:
    assert _operations_of_two_steps(methods, unbought=True) > LEAST_OPERATIONS


@pytest.mark.parametrize("methods", WITH_VIEWS, ids=name_of)
def test_no_step_with_outputs_of_views_makes_a_gpu_wait(methods: list[Method]) -> None:
    assert _operations_of_two_steps(methods, views=True) > LEAST_OPERATIONS


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_no_step_that_is_averaged_makes_a_gpu_wait(averaging: str) -> None:
    training = TRAINING.model_copy(update={"averaging": averaging, "averaging_start": 0.0})
    assert _operations_of_two_steps([CE()], training=training) > LEAST_OPERATIONS


class _Planted(nn.Module):
    def __init__(self, read: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._read = read

    def forward(self, batch: Batch) -> Tensor:
        self._read(batch.student[LOGITS].detach())
        return batch.student[LOGITS].sum()


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda logits: float(logits.sum()), id="float"),
        pytest.param(lambda logits: bool((logits > 0).any()), id="bool"),
        pytest.param(lambda logits: logits[0].tolist(), id="tolist"),
        pytest.param(lambda logits: logits[logits > 0], id="mask"),
        pytest.param(lambda logits: (logits > 0).nonzero(), id="nonzero"),
        pytest.param(lambda logits: torch.equal(logits, logits), id="equal"),
        pytest.param(lambda logits: one_hot(logits.argmax(dim=1), CLASSES), id="one_hot"),
        pytest.param(lambda logits: torch.linalg.svd(logits), id="singular values"),
        pytest.param(lambda logits: logits.cpu(), id="copy to the CPU"),
        pytest.param(lambda logits: logits[torch.arange(2)], id="index on the CPU"),
        pytest.param(lambda logits: logits[[0, 1]], id="index in a list"),
        pytest.param(lambda logits: logits + torch.ones(CLASSES), id="tensor on the CPU"),
        pytest.param(lambda logits: torch.tensor([1.0, 2.0], device=logits.device), id="tensor from a list"),
        pytest.param(lambda logits: torch.randperm(8).to(logits.device), id="draws on the CPU"),
    ],
)
def test_read_in_a_term_is_caught(read: Callable[[Tensor], Any]) -> None:
    """Otherwise the tests above could not fail. Torch itself rejects some reads on that device."""
    run = running([CE()], META)
    run._objective.terms["label"] = _Planted(read)
    with (
        pytest.raises((Waited, RuntimeError, NotImplementedError), match=r"reads|copies|CPU|meta|nonzero"),
        no_waiting(),
    ):
        run.step()
