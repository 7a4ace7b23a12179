"""The authors' objective is what our own method computes when it is set to draw as they do."""

import torch

from benchmarks.training.comparisons import TEMPERATURE, K, drawn_by_authors
from benchmarks.training.students import CLASSES
from distill_worker.losses import drawn_ckd_loss


def test_authors_objective_equals_drawn_comparisons_with_teacher_and_labels() -> None:
    numbers = torch.Generator().manual_seed(0)
    student_logits, teacher_logits = (torch.randn(4 * K, CLASSES, generator=numbers) for _ in range(2))
    labels = torch.randint(CLASSES, (4 * K,), generator=numbers)
    groups = torch.arange(4 * K).view(4, K)
    targets = (teacher_logits, torch.nn.functional.one_hot(labels, CLASSES).float())
    expected = sum(drawn_ckd_loss(student_logits, target, groups, temperature=TEMPERATURE) for target in targets)
    torch.testing.assert_close(drawn_by_authors(student_logits, teacher_logits, labels), expected)
