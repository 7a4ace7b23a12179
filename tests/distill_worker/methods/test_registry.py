"""Every method is known by name, and says where it comes from."""

import pkgutil
import re
from importlib import import_module

import pytest

from distill_worker import methods
from distill_worker.methods import METHODS, Method, described, why_not_together
from distill_worker.methods.ckd import CKD
from distill_worker.methods.mixup import CutMix, Mixup
from distill_worker.methods.relational import CC, PKT, RKD, SP
from distill_worker.methods.single_sample import DIST, DKD, KD
from distill_worker.methods.white_box import FitNet

BLACK_BOX = {
    "kd", "ckd", "dkd", "lskd", "mse", "dist", "ttm", "wttm", "rkd", "sp", "cc", "pkt", "crd", "mixup", "mixup3",
    "cutmix",
}  # fmt: skip


def test_registry_holds_every_method_class() -> None:
    """The derived registry is whole: it has those of the first version, and each class that names itself."""
    assert set(METHODS) >= BLACK_BOX | {"ce", "pseudo-label", "fitnet", "at", "vid"}
    assert {row["name"] for row in described() if row["access"] == "black box"} >= BLACK_BOX
    assert {row["name"] for row in described() if row["access"] == "white box"} >= {"fitnet", "at", "vid"}
    for info in pkgutil.iter_modules(methods.__path__):
        for value in vars(import_module(f"{methods.__name__}.{info.name}")).values():
            if isinstance(value, type) and issubclass(value, Method) and "name" in value.model_fields:
                assert METHODS[value.model_fields["name"].default] is value, f"list methods.{info.name} in _MODULES"


@pytest.mark.parametrize("row", described(), ids=lambda row: row["name"])
def test_every_row_says_what_it_is_and_where_it_comes_from(row: dict[str, str]) -> None:
    assert row["summary"].endswith(".")
    assert row["name"] == "ce" or re.search(r"arXiv \d{4}\.\d{4,5}", row["paper"])


@pytest.mark.parametrize(
    ("method", "on_logits", "on_features"), [(RKD, 0.1, 1.0), (SP, 30, 3000), (CC, 20, 0.02), (PKT, 30, 30000)]
)
def test_published_weights_are_those_of_features(
    method: type[RKD | SP | CC | PKT], on_logits: float, on_features: float
) -> None:
    assert method().term_weight == on_logits
    assert method(on="features").term_weight == on_features
    assert method(on="features", weight=7).term_weight == 7


@pytest.mark.parametrize(
    ("together", "reason"),
    [
        ([KD(), FitNet(), DIST()], None),
        ([Mixup(), KD()], None),
        ([KD(), KD()], "different methods"),
        ([Mixup(), CutMix()], "at most one"),
        ([Mixup(), DKD()], "dkd needs one true label"),
        ([CutMix(), RKD()], "rkd needs logits, and mixtures have only distributions"),
        ([CutMix(), RKD(on="log_probabilities"), CKD(k=3)], None),
        ([Mixup(), CKD(on="features")], "ckd needs features, and those of a mixture are not stored"),
        ([Mixup(targets="requeried", mixtures=5), RKD(), CC(on="features")], None),
    ],
)
def test_methods_that_contradict_each_other_are_named(together: list[Method], reason: str | None) -> None:
    contradiction = why_not_together(together)
    assert (contradiction is None) if reason is None else reason in str(contradiction)
