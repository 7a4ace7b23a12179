"""Methods with something to learn or to remember: CRD, FitNet, AT, VID."""

import pytest
import torch
from torch.nn.functional import normalize, softplus
from torch.testing import assert_close

from distill_worker.errors import ConfigError
from distill_worker.methods.base import LOGITS, Method
from distill_worker.methods.crd import CRD
from distill_worker.methods.white_box import AT, VID, FitNet
from tests.distill_worker.methods.terms.batches import TARGETS, batch, made


@pytest.mark.parametrize("method", [CRD(negatives=8), FitNet(), VID(), AT()])
def test_everything_learned_gets_a_gradient(method: Method) -> None:
    """A variance or a projection that the optimiser does not see is a known mistake."""
    objective = made(method)
    torch.stack(list(objective(batch()).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert [name for name, values in objective.named_parameters() if values.grad is None] == []


def test_vid_starts_at_its_variance_and_learns_one_a_channel() -> None:
    (alpha,) = [values for name, values in made(VID(initial_variance=5)).named_parameters() if name.endswith("alpha")]
    assert_close(softplus(alpha), torch.full((4,), 5.0))


def test_hint_pools_the_larger_map_down() -> None:
    """The student's 4x4 maps meet the teacher's 2x2 maps."""
    assert float(made(FitNet())(batch())["fitnet"].detach()) > 0


def test_layers_that_cannot_meet_are_refused_by_key() -> None:
    with pytest.raises(ConfigError, match=r"method\.student_layer: expected features of 3 dimensions"):
        made(FitNet(student_layer="pooled"))
    with pytest.raises(ConfigError, match=r"method\.student_layer: attention needs a map"):
        made(AT(student_layer="pooled", teacher_layer="pooled"))


def test_crd_memories_move_towards_what_was_seen() -> None:
    objective = made(CRD(negatives=8, momentum=0.5))
    before = {name: values.clone() for name, values in objective.state_dict().items()}
    given = batch()
    objective(given)
    after = objective.state_dict()
    seen = set(given.samples.tolist())
    for side, rows in (("student", given.student[LOGITS]), ("teacher", given.teacher[LOGITS])):
        old, new = before[f"terms.crd.{side}_memory"], after[f"terms.crd.{side}_memory"]
        embedded = normalize(rows @ before[f"terms.crd.{side}_embed.weight"].T + before[f"terms.crd.{side}_embed.bias"])
        for position in range(len(TARGETS[LOGITS])):
            if position in seen:
                row = embedded[given.samples.tolist().index(position)]
                assert_close(new[position], normalize(0.5 * old[position] + 0.5 * row, dim=0))
            else:
                assert torch.equal(new[position], old[position])


def test_crd_sets_its_constants_once() -> None:
    objective = made(CRD(negatives=8))
    objective(batch())
    first = objective.state_dict()["terms.crd.normalisers"].clone()
    objective(batch(student_seed=9, step=2))
    assert (first > 0).all()
    assert torch.equal(objective.state_dict()["terms.crd.normalisers"], first)
