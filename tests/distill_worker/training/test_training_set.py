"""Bought and unbought samples in one training set, and in one batch."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.single_sample import KD
from distill_worker.methods.terms import Batch
from distill_worker.training.batches import Batches
from distill_worker.training.training_set import TrainingSet
from tests.distill_worker.training.steps import (
    CLASSES,
    SAMPLES,
    SELF_TRAINED,
    SIDE,
    name_of,
    running,
    training_set,
    unbought_samples,
)

CPU = torch.device("cpu")


def _data(*, bought: int = SAMPLES, unbought: int = SAMPLES, share: float = 0.25) -> TrainingSet:
    """The tests' set, of which the first samples of each kind are left."""
    data, others = training_set([KD()], CPU), unbought_samples(CPU)
    return replace(
        data,
        images=data.images[:bought],
        label_probabilities=data.label_probabilities[:bought],
        labels=None if data.labels is None else data.labels[:bought],
        targets={LOGITS: data.targets[LOGITS][:bought]},
        unbought=replace(
            others,
            positions=others.positions[:unbought],
            log_probabilities=others.log_probabilities[:unbought],
            bought_share=share,
        ),
    )


def _batch(data: TrainingSet, batch_size: int = 8, methods: Sequence[Method] = (KD(),)) -> Batch:
    """The first batch of a data set."""
    run = running(methods, CPU, unbought=True)
    return Batches(data, batch_size, seed=0).next(run._student, run._objective, 1)


@pytest.mark.parametrize(
    ("bought", "unbought", "share", "batch_size", "parts"),
    [
        (SAMPLES, SAMPLES, 0.25, 8, (2, 6)),
        (SAMPLES, SAMPLES, 0.5, 8, (4, 4)),
        pytest.param(SAMPLES, SAMPLES, 0.01, 8, (1, 7), id="at least one bought sample"),
        pytest.param(SAMPLES, SAMPLES, 0.99, 8, (7, 1), id="at least one of the pool"),
        pytest.param(3, SAMPLES, 0.5, 16, (3, 13), id="the pool takes the places that too few bought samples leave"),
        pytest.param(SAMPLES, 5, 0.25, 16, (11, 5), id="bought samples take the places that a small pool leaves"),
        pytest.param(3, 2, 0.25, 16, (3, 2), id="fewer samples than a batch"),
        pytest.param(SAMPLES, SAMPLES, 0.25, 2, (1, 1), id="the smallest batch"),
    ],
)
def test_batch_holds_its_share_of_bought_samples(
    bought: int, unbought: int, share: float, batch_size: int, parts: tuple[int, int]
) -> None:
    data = _data(bought=bought, unbought=unbought, share=share)
    assert data.parts(batch_size) == parts
    samples = _batch(data, batch_size).samples
    assert (int((samples < bought).sum()), int((samples >= bought).sum())) == parts
    assert len(set(samples.tolist())) == len(samples)


def test_set_without_unbought_samples_has_bought_batches_alone() -> None:
    data = training_set([KD()], CPU)
    assert data.parts(8) == (8, 0)
    assert data.parts(100) == (SAMPLES, 0)
    assert data.outputs is data.targets


def test_rows_of_both_kinds_are_aligned() -> None:
    """An unbought sample has the image at its position, and the output of the ensemble as target and as label."""
    data = _data()
    assert data.unbought is not None
    queried, unbought = torch.tensor([5, 0]), torch.tensor([3, 7, 1])
    rows = data.rows(queried, unbought)
    assert rows.samples.tolist() == [5, 0, SAMPLES + 3, SAMPLES + 7, SAMPLES + 1]
    assert rows.labels is None
    for row, sample in enumerate([5, 0]):
        assert torch.equal(rows.images[row], data.images[sample])
        assert torch.equal(rows.targets[LOGITS][row], data.targets[LOGITS][sample])
        assert torch.equal(rows.label_probabilities[row], data.label_probabilities[sample])
    for row, sample in enumerate([3, 7, 1], start=2):
        assert torch.equal(rows.images[row], data.unbought.images[SAMPLES - 1 - sample])
        assert torch.equal(rows.targets[LOGITS][row], data.unbought.log_probabilities[sample])
        assert torch.equal(rows.label_probabilities[row], data.unbought.log_probabilities[sample].exp())


def test_positions_of_a_batch_are_those_of_all_outputs() -> None:
    """What a memory or anchors remember by position is what the batch holds."""
    data = _data()
    rows = data.rows(torch.tensor([4]), torch.tensor([9]))
    assert len(data.outputs[LOGITS]) == 2 * SAMPLES
    assert torch.equal(rows.targets[LOGITS], data.outputs[LOGITS][rows.samples])


def test_rows_without_a_teacher_have_labels_alone() -> None:
    """Cross-entropy on the labels of the bought samples and on the ensemble's probabilities."""
    data = replace(_data(), targets={})
    rows = data.rows(torch.tensor([4]), torch.tensor([9]))
    assert rows.targets == {} == data.outputs
    assert rows.label_probabilities.shape == (2, CLASSES)


@pytest.mark.parametrize("methods", SELF_TRAINED, ids=name_of)
def test_every_sample_of_a_batch_teaches(methods: list[Method]) -> None:
    """Each row of the student's logits has a gradient, also those of unbought samples."""
    run = running(methods, CPU, unbought=True)
    run.step()
    batch = Batches(_data(), 8, seed=0).next(run._student, run._objective, 2)
    total = torch.stack(list(run._objective(batch).values())).sum()
    (gradient,) = torch.autograd.grad(total, batch.student[LOGITS])
    assert len(gradient) == len(batch.samples) == 8
    assert (gradient.abs().sum(dim=1) > 0).all()


def test_unbought_samples_of_a_batch_are_those_of_their_images() -> None:
    """The images that go through the student are those of the samples that the batch names."""
    data = _data()
    assert data.unbought is not None
    plain = replace(data, preprocessing=replace(data.preprocessing, crop_padding=0, horizontal_flip=False))
    seen: list[Tensor] = []
    run = running([KD()], CPU, unbought=True)
    run._network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    batch = Batches(plain, 8, seed=0).next(run._student, run._objective, 1)
    expected = [
        data.images[sample] if sample < SAMPLES else data.unbought.images[2 * SAMPLES - 1 - sample]
        for sample in batch.samples.tolist()
    ]
    assert torch.equal(seen[0], plain.preprocessing.normalised(torch.stack(expected)))
    assert seen[0].shape[2:] == (SIDE, SIDE)


def test_state_restores_the_order_of_unbought_samples() -> None:
    run = running([KD()], CPU, unbought=True)
    data = _data()
    batches, again = Batches(data, 8, seed=0), Batches(data, 8, seed=1)
    batches.next(run._student, run._objective, 1)
    again.restore(batches.state())
    following = [
        [part.next(run._student, run._objective, step).samples.tolist() for step in range(2, 8)]
        for part in (batches, again)
    ]
    assert following[0] == following[1]
