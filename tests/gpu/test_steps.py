"""Steps of every method: none waits for the device, and the loss terms without draws are those of the CPU."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from distill_worker.config.training_section import Training
from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.mixup import Mixing
from distill_worker.methods.single_sample import CE
from distill_worker.methods.terms import Batch
from distill_worker.methods.terms.mixtures import draw_cutmix, draw_mixup
from tests.distill_worker.methods.terms.batches import batch, made
from tests.distill_worker.training.steps import EVERY_METHOD, WITH_VIEWS, name_of, running
from tests.gpu.conftest import errors_at_synchronisation


def _draws(method: Method) -> bool:
    if isinstance(method, CKD):
        return method.k > 2 or method.pairing in ("drawn", "anchors") or method.comparison == "interpolation"
    return isinstance(method, CRD | Mixing)


WITHOUT_DRAWS = [
    methods for methods in EVERY_METHOD if not any(_draws(method) or method.needs_pool for method in methods)
]


@pytest.mark.parametrize("methods", EVERY_METHOD, ids=name_of)
def test_no_step_waits_for_the_device(methods: Sequence[Method], device: torch.device) -> None:
    run = running(methods, device)
    with errors_at_synchronisation(device):
        steps = [run.step() for _ in range(3)]
    for terms in steps:
        assert all(term.isfinite() for term in terms.values()), terms


@pytest.mark.parametrize("methods", WITH_VIEWS, ids=name_of)
def test_no_step_with_outputs_of_views_waits_for_the_device(methods: Sequence[Method], device: torch.device) -> None:
    run = running(methods, device, views=True)
    with errors_at_synchronisation(device):
        steps = [run.step() for _ in range(3)]
    for terms in steps:
        assert all(term.isfinite() for term in terms.values()), terms


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", [CE(), CKD(), CKD(on="features")], ids=lambda method: name_of([method]))
def test_no_step_in_half_precision_waits_for_the_device(
    method: Method, precision: Literal["bfloat16", "float16"], device: torch.device
) -> None:
    """With float16 the optimiser itself looks whether the scaled gradients are finite."""
    run = running([method], device, training=Training(steps=4, batch_size=8, precision=precision))
    with errors_at_synchronisation(device):
        steps = [run.step() for _ in range(3)]
    for terms in steps:
        assert all(term.isfinite() for term in terms.values()), terms


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_no_step_that_is_averaged_waits_for_the_device(averaging: str, device: torch.device) -> None:
    training = Training.model_validate({"steps": 4, "batch_size": 8, "averaging": averaging, "averaging_start": 0.0})
    run = running([CE()], device, training=training)
    with errors_at_synchronisation(device):
        for _ in range(3):
            run.step()
    before = [parameter.detach().clone() for parameter in run._network.parameters()]
    run.averaging.use()
    after = list(run._network.parameters())
    assert all(values.isfinite().all() for values in after)
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.gpu
def test_read_in_a_term_is_caught() -> None:
    """Otherwise the test above could not fail."""

    class Planted(nn.Module):
        def forward(self, batch: Batch) -> Tensor:
            return batch.student[LOGITS].sum() * float(batch.student[LOGITS].detach().sum())

    run = running([CE()], torch.device("cuda"))
    run._objective.terms["label"] = Planted()
    with pytest.raises(RuntimeError, match="synchroniz"), errors_at_synchronisation(torch.device("cuda")):
        run.step()


@pytest.mark.parametrize("methods", WITHOUT_DRAWS, ids=name_of)
def test_terms_without_draws_are_those_of_the_cpu(methods: Sequence[Method], device: torch.device) -> None:
    expected = made(*methods)(batch())
    terms = made(*methods).to(device)(_moved(batch(), device))
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        # a GPU rounds what it convolves to TF32
        assert_close(term.cpu(), expected[name], rtol=1e-4 if device.type == "cpu" else 1e-2, atol=1e-5)


def test_mixtures_are_drawn_on_the_device(device: torch.device) -> None:
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 8, 6), dtype=torch.uint8, device=device)
    with errors_at_synchronisation(device):
        mixtures = [
            draw_mixup(16, parts=3, alpha=0.2, generator=generator),
            draw_cutmix(16, height=8, width=6, generator=generator),
        ]
        mixed = [mixture.images(images) for mixture in mixtures]
    for mixture, result in zip(mixtures, mixed, strict=True):
        assert mixture.members.device.type == mixture.shares.device.type == device.type
        assert_close(mixture.shares.sum(dim=1), torch.ones(16, device=device))
        assert (result >= 0).all()
        assert (result <= 255.01).all()


def _moved(given: Batch, device: torch.device) -> Batch:
    return replace(
        given,
        student={kind: values.detach().to(device).requires_grad_() for kind, values in given.student.items()},
        teacher={kind: values.to(device) for kind, values in given.teacher.items()},
        label_probabilities=given.label_probabilities.to(device),
        labels=None if given.labels is None else given.labels.to(device),
        samples=given.samples.to(device),
        generator=torch.Generator(device).manual_seed(0),
    )
