"""Trainings that the tests take steps of: every method with its variants, a small student, and data on any device."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods import METHODS, Method, Mixing
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.mixup import CutMix, Mixup
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.relational import CC, PKT, RKD, SP
from distill_worker.methods.single_sample import DKD, KD
from distill_worker.methods.terms import Objective, Setting
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.methods.white_box import AT, VID
from distill_worker.runs.self_training.ensemble import Ensemble
from distill_worker.training.loop import _RunningTraining
from distill_worker.training.training_set import Pool, TrainingSet, Unbought, Views

SAMPLES, CLASSES, SIDE = 24, 5, 8
TRAINING = Training(steps=4, batch_size=8)
_STUDENT = {LOGITS: (CLASSES,), "features.stage2": (6, 4, 4), "features.pooled": (6,)}
_TEACHER = {LOGITS: (CLASSES,), "features.stage2": (8, 4, 4), "features.pooled": (8,)}

_ALONE: list[list[Method]] = [[method()] for name, method in METHODS.items() if name != "pseudo-label"]
_COMPARED: list[list[Method]] = [
    [CKD(k=k, pairing=pairing, comparison=comparison, others=16)]
    for k in (2, 3, 4)
    for pairing in ("all", "drawn", "memory", "anchors")
    for comparison in ("difference", "addition", "interpolation", "concatenation")
]
_BY_SQUARED_ERROR: list[list[Method]] = [
    [CKD(divergence="mse", k=k, pairing=pairing, comparison=comparison, others=16, label_term="comparative")]
    for k in (2, 3)
    for pairing in ("all", "drawn", "memory")
    for comparison in ("difference", "addition", "interpolation")
]
_REPRESENTED: list[list[Method]] = [
    [method(on=on)] for method in (CKD, RKD, SP, CC, PKT, CRD) for on in ("log_probabilities", "features")
]
_OTHERS: list[list[Method]] = [
    [CKD(label_term="comparative")],
    [CKD(on="features", pairing="memory")],
    [CKD(on="features", divergence="mse")],
    [AT(), VID(), CKD(pairing="anchors"), DKD()],
    [Mixup(alpha=0.2), CKD(k=3)],
    [KD(), PseudoLabel()],
    [KD(), PseudoLabel(strong_view=True)],
]
EVERY_METHOD: list[list[Method]] = [*_ALONE, *_COMPARED, *_BY_SQUARED_ERROR, *_REPRESENTED, *_OTHERS]
SELF_TRAINED: list[list[Method]] = [
    methods
    for methods in EVERY_METHOD
    if SelfTraining().why_not(methods, TRAINING, "unlabelled-pool", rounds=1) is None
]
"""Those that can learn from unbought samples."""
WITH_VIEWS: list[list[Method]] = [[KD(), CKD()], [CKD(pairing="memory", others=16)], [Mixup(), CKD(k=3)], [CutMix()]]
"""Some of those that can learn from views of bought samples."""


def name_of(methods: Sequence[Method]) -> str:
    """The methods with what differs from their defaults."""
    return " + ".join(
        ", ".join([str(method.model_dump()["name"]), *map(str, method.model_dump(exclude_defaults=True).values())])
        for method in methods
    )


class Student(nn.Sequential):
    """A small network with the layers that methods use."""

    def __init__(self) -> None:
        super().__init__()
        self.stage2 = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(6, CLASSES)


def running(
    methods: Sequence[Method],
    device: torch.device,
    *,
    labelled_pool: bool = False,
    unbought: bool = False,
    views: bool = False,
    training: Training = TRAINING,
) -> _RunningTraining:
    """A training of these methods before its first step, everything on one device."""
    data = training_set(methods, device, labelled_pool=labelled_pool)
    targets = {kind: _rows(shape) for kind, shape in _TEACHER.items()}
    if unbought:
        data = replace(data, unbought=unbought_samples(device))
        targets[LOGITS] = torch.cat([targets[LOGITS], _rows((CLASSES,))])
    if views:
        ensemble = Ensemble([Student().to(device), Student().to(device)], training, device)
        data = replace(data, views=Views(ensemble, 0.25, "strong"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student, objective = Student(), Objective(methods, Setting(CLASSES, training.steps, _STUDENT, targets))
    run = _RunningTraining(student.to(device), objective.to(device), data, training)
    run.set_training_mode()
    return run


def training_set(methods: Sequence[Method], device: torch.device, *, labelled_pool: bool = False) -> TrainingSet:
    """Images and targets at random, and the pool that the methods need."""
    shapes: Mapping[str, tuple[int, ...]] = {LOGITS: (CLASSES,)} if isinstance(methods[0], Mixing) else _TEACHER
    labels = torch.arange(SAMPLES) % CLASSES
    pool = None
    if labelled_pool or any(method.needs_pool for method in methods):
        pool = Pool(_images(2 * SAMPLES), torch.arange(2 * SAMPLES) % CLASSES if labelled_pool else None).to(device)
    return TrainingSet(
        images=_images(SAMPLES).to(device),
        label_probabilities=probabilities_of(labels, CLASSES).to(device),
        labels=labels.to(device),
        preprocessing=Preprocessing(
            mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), crop_padding=2, horizontal_flip=True, channels_last=True
        ),
        targets={kind: _rows(shape).to(device) for kind, shape in shapes.items()},
        pool=pool,
    )


def unbought_samples(device: torch.device) -> Unbought:
    """As many samples as are bought, in reverse, among twice as many images."""
    return Unbought(
        images=_images(2 * SAMPLES).to(device),
        positions=torch.arange(SAMPLES).flip(0).to(device),
        log_probabilities=_rows((CLASSES,)).log_softmax(dim=1).to(device),
        bought_share=0.25,
        policy="crop-flip",
    )


def _images(samples: int) -> Tensor:
    return torch.randint(0, 256, (samples, 3, SIDE, SIDE), dtype=torch.uint8)


def _rows(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(SAMPLES, *shape)
