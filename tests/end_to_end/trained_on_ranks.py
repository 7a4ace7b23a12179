"""Trainings in float64, to compare ranks with one process: `torchrun -m tests.end_to_end.trained_on_ranks FOLDER`.

Each leaves its metrics and last weights in a folder of its own name. The network draws nothing: what it draws on each
rank is another part of a stream.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.training_section import Training
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.methods import Method
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.mixup import Mixup
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.single_sample import CE, KD, MSE
from distill_worker.methods.terms import Objective, Setting
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.methods.white_box import FitNet
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.loop import train
from distill_worker.training.ranks.group import ALONE, Ranks, opened
from distill_worker.training.training_set import Pool, TrainingSet

SAMPLES, VALIDATION, POOL, CLASSES = 26, 10, 30, 4
HINT: Final = "features.second"
"""The teacher's features, 6 maps; the student's layer of that name has 5."""
EVEN: Final = Training(steps=12, batch_size=8, learning_rate=0.02)
UNEVEN: Final = EVEN.model_copy(update={"batch_size": 7})
LONGER: Final = EVEN.model_copy(update={"steps": 20})


@dataclass(frozen=True)
class Case:
    """One training."""

    methods: Sequence[Method]
    training: Training = EVEN
    pool: bool = False
    validation: bool = False


CASES: Final[Mapping[str, Case]] = {
    "ce": Case([CE()], UNEVEN),
    "kd": Case([KD()], LONGER),
    "ckd, all pairs": Case([CKD()], UNEVEN),
    "mse": Case([MSE()], UNEVEN),
    "ckd by squared error": Case(
        [CKD(divergence="mse", pairing="memory", others=20, label_term="comparative")], UNEVEN
    ),
    "ckd with anchors": Case([CKD(pairing="anchors", others=12)]),
    "ckd with a memory": Case([CKD(pairing="memory", others=20)], UNEVEN),
    "crd on features": Case(
        [CRD(on="features", teacher_layer="second", student_layer="second", dims=6, negatives=9)], EVEN
    ),
    "fitnet": Case([FitNet(teacher_layer="second", student_layer="second", weight=0.5)], UNEVEN),
    "mixup": Case([Mixup()], UNEVEN),
    "pseudo-labels": Case([KD(), PseudoLabel(threshold=0.3)], UNEVEN, pool=True),
    "pseudo-labels, a strong view": Case([KD(), PseudoLabel(threshold=0.3, strong_view=True)], UNEVEN, pool=True),
    "an exponential moving average": Case([KD()], UNEVEN.model_copy(update={"averaging": "ema"}), validation=True),
    "an average of the last steps": Case([KD()], UNEVEN.model_copy(update={"averaging": "swa"}), validation=True),
    "the paper's protocol": Case(
        [CKD()],
        Training(protocol="paper", batch_size=9, learning_rate=0.02, patience_epochs=4, max_epochs=17),
        validation=True,
    ),
}
PER_RANK: Final = replace(CASES["kd"], training=LONGER.model_copy(update={"batch_norm": "per-rank"}))
"""Not what one process trains."""


class Student(nn.Module):
    """Float64, with a layer of each kind of batch normalisation, one of them frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
        self.frozen = nn.BatchNorm2d(5).requires_grad_(requires_grad=False).eval()
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(20, 7), nn.BatchNorm1d(7, affine=False), nn.Linear(7, CLASSES)
        )
        self.to(torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images `[batch, 1, 6, 6]`."""
        logits: Tensor = self.head(self.frozen(self.second(self.first(images.double()))))
        return logits


def train_all(folder: Path, ranks: Ranks) -> None:
    """Train every case, below `folder`."""
    for name, case in {**CASES, "per rank": PER_RANK}.items():
        _train(folder / name, case, ranks)


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The last weights of a case, with those of its objective."""
    stored: dict[str, Tensor] = torch.load(folder / name / "weights.pt", weights_only=True)
    return stored


def _train(folder: Path, case: Case, ranks: Ranks) -> None:
    data = _data(case)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Student()
        setting = Setting(CLASSES, 50, {LOGITS: (CLASSES,), HINT: (5, 2, 2)}, data.targets)
        objective = Objective(case.methods, setting).double()
    directory = RunDirectory(folder)
    with directory.opened(RunIdentity({}, {})) if ranks.is_first else nullcontext():
        train(network, objective, data, case.training, directory, ranks=ranks)
        if ranks.is_first:
            state = network.state_dict() | {
                f"objective {name}": value for name, value in objective.state_dict().items()
            }
            torch.save(state, folder / "weights.pt")


def _data(case: Case) -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    count = SAMPLES + VALIDATION
    images = torch.randint(0, 256, (count + POOL, 1, 6, 6), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % CLASSES
    targets = {
        LOGITS: 3 * torch.randn(SAMPLES, CLASSES, generator=generator, dtype=torch.float64),
        HINT: torch.randn(SAMPLES, 6, 2, 2, generator=generator, dtype=torch.float64),
    }
    wanted = {kind for method in case.methods for kind in method.teacher_kinds}
    return TrainingSet(
        images=images[:SAMPLES],
        label_probabilities=probabilities_of(labels[:SAMPLES], CLASSES),
        labels=labels[:SAMPLES],
        preprocessing=Preprocessing(mean=(0.5,), std=(0.5,), crop_padding=1, horizontal_flip=True),
        targets={kind: outputs for kind, outputs in targets.items() if kind in wanted},
        pool=Pool(images[count:], None) if case.pool else None,
        validation=(images[SAMPLES:count], labels[SAMPLES:]) if case.validation else None,
    )


if __name__ == "__main__":
    with opened() as opened_ranks:
        assert opened_ranks is not ALONE
        train_all(Path(sys.argv[1]), opened_ranks)
