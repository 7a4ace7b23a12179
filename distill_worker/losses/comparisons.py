"""What is compared with what: the comparison functions, drawn groups, and the pairs of a batch with other samples."""

from typing import Literal, get_args

import torch
from torch import Tensor

from distill_worker.losses.shapes import check_logits

Comparison = Literal["difference", "addition", "interpolation", "concatenation"]
"""How two vectors a and b become one: a - b; (a + b) / 2; share * a + (1 - share) * b; both, one behind the other."""


def comparison_weights(comparison: Comparison, share: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    """The factors of a and b in their comparison; of each part, if it is a concatenation.

    Raises:
        ValueError: the comparison has another name, or the share is outside 0 to 1; a tensor's values are not checked.
    """
    if comparison not in get_args(Comparison):
        raise ValueError(f"comparison: expected one of {', '.join(get_args(Comparison))}, got {comparison!r}")
    if not isinstance(share, Tensor) and not 0 <= share <= 1:
        raise ValueError(f"share: expected a number from 0 to 1, got {share}")
    weights: dict[Comparison, tuple[float | Tensor, float | Tensor]] = {
        "difference": (1.0, -1.0),
        "addition": (0.5, 0.5),
        "interpolation": (share, 1 - share),
        "concatenation": (1.0, 1.0),
    }
    return weights[comparison]


def share_of_each(share: float | Tensor, groups: Tensor) -> float | Tensor:
    """A share for all groups as it is, or one for each of them as a column. Raises `ValueError`."""
    if not isinstance(share, Tensor):
        return share
    if share.shape != (len(groups),):
        raise ValueError(f"share: expected one number, or one for each of {len(groups)}, got {list(share.shape)}")
    return share[:, None]


def draw_groups(batch: int, k: int, comparisons: int, generator: torch.Generator) -> Tensor:
    """`comparisons` groups of `k` distinct indices below `batch`, each ordered choice equally likely.

    They are int64 `[comparisons, k]`, on the generator's device.

    Raises:
        ValueError: k is below 2 or above the batch, or there is nothing to draw.
    """
    if not 2 <= k <= batch:
        raise ValueError(f"k: expected 2 to {batch} (the batch), got {k}")
    if comparisons < 1:
        raise ValueError(f"comparisons: expected at least 1, got {comparisons}")
    return torch.rand(comparisons, batch, generator=generator, device=generator.device).topk(k, dim=1).indices


def split_groups(groups: Tensor) -> tuple[Tensor, Tensor]:
    """The first `ceil(k / 2)` members of each group, and the rest of it. Raises `ValueError`."""
    if groups.ndim != 2 or len(groups) < 1 or groups.shape[1] < 2 or groups.dtype != torch.int64:
        raise ValueError(f"groups: expected int64 [comparisons >= 1, k >= 2], got {groups.dtype} {list(groups.shape)}")
    group_a_size = (groups.shape[1] + 1) // 2
    return groups[:, :group_a_size], groups[:, group_a_size:]


def share_a_sample(group_a: Tensor, group_b: Tensor) -> Tensor:
    """Whether group i of A, int64 `[a, size of A]`, and group j of B have an index in common; bool `[a, b]`."""
    return (group_a[:, None, :, None] == group_b[None, :, None, :]).flatten(2).any(dim=2)


def pairs_with_others(
    student_logits: Tensor,
    teacher_logits: Tensor,
    other_student_logits: Tensor,
    other_teacher_logits: Tensor,
    same_sample: Tensor | None,
) -> Tensor:
    """The pairs of the batch with other samples that are compared, bool `[batch, others]`: not those of one sample.

    Raises:
        ValueError: a wrong shape.
    """
    check_logits(student_logits, teacher_logits)
    check_logits(other_student_logits, other_teacher_logits)
    if student_logits.shape[1] != other_student_logits.shape[1]:
        raise ValueError(
            f"other_student_logits: expected {student_logits.shape[1]} classes, got {other_student_logits.shape[1]}"
        )
    pairs = (len(student_logits), len(other_student_logits))
    if same_sample is None:
        same_sample = torch.zeros(pairs, dtype=torch.bool, device=student_logits.device)
    if same_sample.shape != pairs or same_sample.dtype != torch.bool:
        raise ValueError(f"same_sample: expected bool {list(pairs)}, got {same_sample.dtype} {list(same_sample.shape)}")
    return ~same_sample
