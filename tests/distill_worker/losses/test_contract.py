"""What every loss promises alike: whose gradient, which precision, and that it can be compiled."""

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from distill_worker import losses
from tests.distill_worker.losses.cases import BATCH, CASES, VARIANTS, Case
from tests.distill_worker.losses.comparisons import value_and_gradient

every_loss = pytest.mark.parametrize("case", [*CASES, *VARIANTS], ids=str)
HELD_SINCE_THE_FIRST_VERSION = {
    "at", "cc", "centroid_ckd", "ckd", "crd", "cross_ckd", "dist", "dkd", "drawn_ckd", "fitnet", "kd", "lskd", "pkt",
    "pseudo_label", "rkd", "sp", "ttm", "vid", "wttm",
}  # fmt: skip


def _defined_losses() -> dict[str, str]:
    """Every public function named `..._loss` in the package, and the module that defines it."""
    modules = [import_module(f"{losses.__name__}.{info.name}") for info in pkgutil.iter_modules(losses.__path__)]
    return {
        name: module.__name__
        for module in modules
        for name, value in vars(module).items()
        if name.endswith("_loss") and inspect.isfunction(value) and value.__module__ == module.__name__
    }


def test_every_loss_is_exported_and_checked() -> None:
    """The derived list is whole: it is neither empty nor short of a loss that some module defines."""
    checked = {case.name for case in CASES}
    assert checked == _defined_losses().keys()
    assert checked >= {f"{name}_loss" for name in HELD_SINCE_THE_FIRST_VERSION}


@pytest.mark.parametrize("name", _defined_losses())
def test_every_loss_has_a_test_of_its_own(name: str) -> None:
    """Beside what is checked of all alike: a case computed by hand, and its minimum."""
    files = Path(__file__).parent.glob("test_*.py")
    own = [file for file in files if file.name not in ("test_contract.py", "test_log_probabilities.py")]
    assert any(name in file.read_text(encoding="utf-8") for file in own), f"write tests/.../losses/test_*.py for {name}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_docstring_holds_the_contract(case: Case) -> None:
    """Shapes, unit, errors and source; for logits also what a constant added to a sample does."""
    assert all(section in case.docstring for section in ("Args:", "Returns: Scalar", "Raises: ValueError:"))
    assert "Source:" in case.docstring + (inspect.getmodule(case.function).__doc__ or "")
    if case.first_parameter == "student_logits":
        assert case.takes_log_probabilities != case.sees_shifts, "say which: see the properties of Case"


@every_loss
def test_value_is_a_finite_scalar_in_the_dtype_given(case: Case) -> None:
    student, teacher = case.tensors()
    assert case(student, teacher).dtype == torch.float64
    value = case(student.float(), teacher.float())
    assert (value.shape, value.dtype) == ((), torch.float32)
    assert_close(value.double(), case(student, teacher), rtol=1e-4, atol=1e-5)


@every_loss
def test_no_gradient_reaches_the_teacher(case: Case) -> None:
    student, teacher = case.tensors()
    teacher.requires_grad_()
    case(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert (teacher.grad is not None) == case.teacher_learns
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_teacher_learns_from_crd_alone() -> None:
    """`Case` reads it from a docstring, so a loss that let a gradient through by mistake could declare it there."""
    assert {case.name for case in CASES if case.teacher_learns} == {"crd_loss"}


@every_loss
def test_gradient_equals_finite_differences(case: Case) -> None:
    student, teacher = case.tensors()
    assert torch.autograd.gradcheck(lambda rows: case(rows, teacher), student)


@every_loss
def test_bfloat16_under_autocast_gives_what_float32_gives(case: Case) -> None:
    """Half-precision inputs are computed in float32, whatever autocast would do to a product."""
    student, teacher = (side.detach().float() for side in case.tensors())
    rounded = student.bfloat16()
    expected = case(rounded.float(), teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(case(rounded, teacher).float(), expected, rtol=1e-3, atol=1e-5)


@every_loss
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_compiled_loss_is_the_loss(case: Case) -> None:
    """In value and gradient. A C++ compiler may be missing, so only the graph is compiled."""
    student, teacher = case.tensors()
    compiled = torch.compile(case.function, backend="aot_eager")
    assert_close(
        value_and_gradient(compiled(**case.arguments(student, teacher)), student),
        value_and_gradient(case(student, teacher), student),
    )


@pytest.mark.parametrize("case", [case for case in [*CASES, *VARIANTS] if case.takes_log_probabilities], ids=str)
def test_log_probabilities_are_as_good_as_logits(case: Case) -> None:
    """On either side: an API that sells probabilities is enough, if it gives enough digits."""
    student, teacher = case.tensors()
    expected = case(student, teacher)
    assert_close(case(student.log_softmax(1), teacher), expected)
    assert_close(case(student, teacher.log_softmax(1)), expected)


@pytest.mark.parametrize("case", [case for case in CASES if case.sees_shifts], ids=str)
def test_relations_of_shifted_logits_are_others(case: Case) -> None:
    """What the docstrings warn of."""
    student, teacher = case.tensors()
    shift = torch.arange(BATCH, dtype=torch.float64)[:, None]
    assert not torch.isclose(case(student, teacher + shift), case(student, teacher), rtol=1e-3)


@every_loss
@pytest.mark.parametrize("spoil", ["flat", "integer", "batch"])
def test_bad_shape_is_rejected_by_name(case: Case, spoil: str) -> None:
    student, teacher = (side.detach() for side in case.tensors())
    bad = {"flat": teacher.flatten(), "integer": teacher.long(), "batch": teacher[:-1]}[spoil]
    with pytest.raises(ValueError, match=r"^(teacher|view|student|other)_\w+: expected .*, got "):
        case(student, bad)
