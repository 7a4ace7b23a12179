"""What comparing all pairs costs: against a step of cross-entropy, and against the way of the method's authors.

The authors' code (arXiv 2311.02253, release of 2023-10-25) draws each of its 64 comparisons by itself: k = 3 images,
two of them in group A, so a step passes 192 images through the student. Both of its terms are KL divergences of
compared logits at T = 4: with the teacher's, and with one-hot labels in the teacher's place.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, one_hot

from benchmarks.figures import Figure
from benchmarks.training.part import Part, milliseconds, ratio
from benchmarks.training.students import BATCH, CLASSES, PRECISIONS, bare_step, loop
from benchmarks.training.turns import in_turns, per_step, ratios
from distill_worker.losses import ckd_loss
from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import CE

STEPS = 2
ROUNDS_OF_CKD = 3
"""To each round: the cost of CKD is small beside the drift of the machine, so its turns are short and many."""
K, TEMPERATURE = 3, 4.0
AUTHORS_COMPARISONS = 64
OUR_COMPARISONS = BATCH * (BATCH - 1)
"""Ordered pairs: KL divergence of a difference is not that of its negative."""
CKD_TARGET, STEPS_TARGET, COMPARISONS_TARGET = 1.03, 2.8, 150.0


def all_pairs(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Our objective: cross-entropy, and every ordered pair of the batch compared."""
    return cross_entropy(student_logits, labels) + ckd_loss(student_logits, teacher_logits, temperature=TEMPERATURE)


def drawn_by_authors(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """The authors' objective. Rows come in groups of three: A is the mean of the first two, B is the third."""
    log_q = log_softmax(_compared(student_logits), dim=1)
    total = torch.zeros(())
    for target in (teacher_logits, one_hot(labels, CLASSES).to(torch.float32)):
        p = _compared(target).softmax(dim=1)
        total = total + TEMPERATURE**2 * kl_div(log_q, p, reduction="batchmean")
    return total


def _compared(logits: Tensor) -> Tensor:
    groups = logits.view(-1, K, logits.shape[1])
    return (groups[:, :2].mean(dim=1) - groups[:, 2]) / TEMPERATURE


def figures(rounds: int) -> Iterator[Figure]:
    """Ratios of whole steps."""
    subjects = {f"ce_{precision}": loop(CE(), precision, steps=STEPS) for precision in PRECISIONS}
    subjects |= {f"ckd_{precision}": loop(CKD(), precision, steps=STEPS) for precision in PRECISIONS}
    seconds = in_turns(subjects, ROUNDS_OF_CKD * rounds)
    for precision in PRECISIONS:
        costs = ratios(seconds[f"ckd_{precision}"], seconds[f"ce_{precision}"])
        yield ratio(f"ckd_vs_ce_step_{precision}", costs, target=CKD_TARGET, better="lower")
    drawn = bare_step("float32", loss=drawn_by_authors, images=K * AUTHORS_COMPARISONS)
    compared = bare_step("float32", loss=all_pairs)
    seconds |= in_turns({"all_pairs": per_step(compared, STEPS), "authors": per_step(drawn, STEPS)}, rounds)
    more_steps = ratios(seconds["authors"], seconds["all_pairs"])
    yield ratio("ckd_steps_vs_authors", more_steps, target=STEPS_TARGET)
    more_comparisons = [OUR_COMPARISONS / AUTHORS_COMPARISONS * value for value in more_steps]
    yield ratio("ckd_comparisons_vs_authors", more_comparisons, target=COMPARISONS_TARGET)
    for name, values in seconds.items():
        yield milliseconds(f"{name}_step", values)


PART = Part(
    "comparisons",
    "a CKD step of all pairs against a CE step, and against 64 drawn comparisons of three images, as the authors do",
    seconds=75,
    rounds=6,
    figures=figures,
)
