"""What is bought of what is offered, and what is refused before anything is bought."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from distill_worker.buying.output_choice import choose_outputs
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, PlanRefused, RunError
from distill_worker.methods import METHODS, Method
from distill_worker.runs.purchase import make_order
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import find_bought, load_targets
from distill_worker.runs.train_student import train_student
from distill_worker.training.teacher_logits import to_logits
from shared.output_kinds import OutputKind
from shared.weights import load_weights
from tests.distill_worker.fake_teacher import FakeTeacher, answer, describe
from tests.distill_worker.purchases import buy_as_configured

TEACHES_NOTHING = {"ce", "pseudo-label"}
NEEDS_LOGITS = {"rkd", "sp", "cc", "pkt", "crd"}
LESS_THAN_LOGITS = ("log_probabilities", "probabilities", "probabilities:3", "top_k:3", "top_k:3:2", "label")


def _config(folder: Path, method: str | Mapping[str, Any] = "kd", output: str = "auto", **teacher: Any) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": method} if isinstance(method, str) else method,
        "budget": {"n": 12},
        "teacher": {"output": output, "give_up_after_seconds": 0, **teacher},
        "training": {"steps": 3, "batch_size": 6, "device": "cpu"},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    return parse_config(document, source="test")


def _teacher(*tells: str, **features: tuple[int, ...]) -> FakeTeacher:
    outputs = {f"features.{layer}": shape for layer, shape in features.items()}
    return FakeTeacher(limit=12, description=describe(shape=(1, 8, 8), num_classes=10, tells=tells, outputs=outputs))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.mark.parametrize(
    ("output", "offered", "bought"),
    [
        ("auto", ["label", "logits", "top_k:3"], "logits"),
        ("auto", ["label", "top_k:3:2", "probabilities:1"], "probabilities:1"),
        ("auto", ["label"], "label"),
        ("label", ["label", "logits"], "label"),
        ("top_k:03", ["label", "top_k:3"], "top_k:3"),
    ],
)
def test_most_telling_kind_is_bought_or_the_one_that_is_named(
    tmp_path: Path, output: str, offered: list[str], bought: str
) -> None:
    assert choose_outputs(_config(tmp_path, output=output), offered) == (bought,)


def test_features_are_bought_beside_it(tmp_path: Path) -> None:
    config = _config(tmp_path, "fitnet")
    assert choose_outputs(config, ["features.stage2", "label"]) == ("features.stage2", "label")


def test_who_asks_no_teacher_buys_nothing(tmp_path: Path) -> None:
    assert choose_outputs(_config(tmp_path, "ce"), ["logits"]) == ()


@pytest.mark.parametrize(
    ("method", "output", "tells", "reason"),
    [
        ("kd", "logits", ["probabilities"], r"expected 'logits', but the teacher sells probabilities"),
        ("kd", "probabilities:3", ["probabilities:2"], r"expected 'probabilities:3', .* sells probabilities:2"),
        ("kd", "auto", [], r"expected logits or another distribution, but the teacher sells nothing"),
        ("rkd", "auto", ["log_probabilities"], r"rkd needs logits, got log_probabilities: .*on = 'log_probabilities'"),
        ("crd", "auto", ["label", "top_k:3"], r"crd needs logits, got top_k:3"),
    ],
)
def test_refusal_comes_before_the_purchase(
    tmp_path: Path, cache: Cache, method: str, output: str, tells: list[str], reason: str
) -> None:
    """Nothing was sent to the teacher, and nothing is written down."""
    config, teacher = _config(tmp_path, method, output), _teacher(*tells)
    samples = Samples.of(config)
    with pytest.raises(PlanRefused, match=rf"{reason}.*Nothing was spent"):
        buy_as_configured(config, samples, teacher, cache)
    assert (teacher.asked, teacher.sent, teacher.paid, cache.teachers()) == ([], [], 0, [])


@pytest.mark.parametrize("name", sorted(NEEDS_LOGITS))
def test_what_the_file_alone_contradicts_is_refused_with_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"teacher\.output: {name} needs logits, got label: "):
        _config(tmp_path, name, "label")
    for on in ("log_probabilities", "features"):
        _config(tmp_path, {"name": name, "on": on}, "label")


def test_every_method_says_what_it_can_learn_from() -> None:
    """All that look at a softmax learn from any distribution; white-box methods need features besides."""
    told: dict[str, Method] = {name: method() for name, method in METHODS.items()}
    assert {name for name, method in told.items() if method.needs_logits} == NEEDS_LOGITS
    assert {name for name, method in told.items() if not method.teacher_kinds} == TEACHES_NOTHING
    with_features = {name for name, method in told.items() if len(method.teacher_kinds) > 1}
    assert with_features == {"fitnet", "at", "vid"}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("logit", r"teacher\.output: expected logits, .* got 'logit'"),
        ("top_k", r"teacher\.output: expected .*top_k:k"),
        ("features.stage2", r"teacher\.output: expected a distribution; the method sets which features"),
    ],
)
def test_output_that_is_none_is_refused_by_its_key(tmp_path: Path, output: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _config(tmp_path, output=output)


@pytest.mark.parametrize("kind", ["logits", *LESS_THAN_LOGITS])
@pytest.mark.parametrize("method", ["kd", "ckd", "mixup", "dkd"])
def test_student_learns_from_what_was_bought_and_says_so(tmp_path: Path, cache: Cache, kind: str, method: str) -> None:
    config, teacher = _config(tmp_path, method, label_smoothing=0.3), _teacher(kind)
    samples = Samples.of(config)
    plan, _ = buy_as_configured(config, samples, teacher, cache)
    assert (plan.kinds, teacher.paid) == ((kind,), 12)
    owner, kinds = find_bought(cache, samples.keys, None, config.teacher_kinds)
    bought = load_targets(cache, owner, samples.keys, kinds)
    result = train_student(config, samples, bought, owner)
    card, _, _ = load_weights(tmp_path / "run" / "student.safetensors")
    assert result["teacher_output"] == card.provenance["teacher_output"] == kind
    assert result["completion"] == card.provenance["completion"]
    assert (result["completion"] is None) == (kind in ("logits", "log_probabilities"))
    if kind == "label":
        assert "smoothing 0.3" in result["completion"]


def test_log_probabilities_teach_what_logits_teach(tmp_path: Path, cache: Cache) -> None:
    """After three steps the students' weights differ by rounding alone."""
    students = []
    for kind in ("logits", "log_probabilities"):
        config, teacher = _config(tmp_path / kind, {"name": "ckd", "k": 3}, kind), _teacher(kind)
        samples = Samples.of(config)
        buy_as_configured(config, samples, teacher, cache)
        targets = load_targets(cache, "t", samples.keys, [kind])
        train_student(config, samples, targets, "t")
        _, network, _ = load_weights(tmp_path / kind / "run" / "student.safetensors")
        students.append(torch.cat([values.flatten().float() for values in network.state_dict().values()]))
    assert_close(*students, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("output", "smoothing", "difference"),
    [
        ("logits", 0.1, "completion: .*0.1.* in the directory, not set now"),
        ("label", 0.2, "completion: .*0.1.* in the directory, .*0.2.* now"),
    ],
)
def test_run_on_what_was_told_otherwise_is_another_run(
    tmp_path: Path, output: str, smoothing: float, difference: str
) -> None:
    told = {"label": torch.zeros(12, 1), "logits": torch.zeros(12, 10)}
    config = _config(tmp_path)
    samples = Samples.of(config)
    train_student(config, samples, {"label": told["label"]}, "t")
    with pytest.raises(RunError, match=f"another run .*{difference}"):
        train_student(_config(tmp_path, label_smoothing=smoothing), samples, {output: told[output]}, "t")


def test_offline_training_refuses_what_a_method_cannot_learn_from(tmp_path: Path) -> None:
    config = _config(tmp_path, "rkd")
    with pytest.raises(ConfigError, match="rkd needs logits, got label"):
        train_student(config, Samples.of(config), {"label": torch.zeros(12, 1)}, "t")


def test_fake_tells_one_story() -> None:
    """The oracle of all of the above: each kind of the fake is its logits, told otherwise."""
    images = torch.randint(0, 17, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    teacher = _teacher("logits", *LESS_THAN_LOGITS)
    told = teacher.buy(
        images, description=teacher.description, idempotency_key="k", outputs=tuple(teacher.description.outputs)
    )
    expected = torch.from_numpy(answer(images, 10)).softmax(1)
    for kind, tolerance in (("log_probabilities", 1e-6), ("probabilities", 1e-6), ("probabilities:3", 5e-3)):
        filled = to_logits(OutputKind.parse(kind), torch.from_numpy(told.outputs[kind]), 10)
        assert_close(filled.softmax(1), expected, rtol=0, atol=tolerance)
    assert told.outputs["label"][:, 0].tolist() == expected.argmax(1).tolist()


def test_key_that_sees_less_now_buys_nothing_where_all_is_held(cache: Cache, tmp_path: Path) -> None:
    """What it saw before is as good as an offer; of samples that lack it, the lesser kind is bought."""
    config = _config(tmp_path)
    before, now = _teacher("logits"), _teacher("label")
    samples = Samples.of(config)
    buy_as_configured(config, samples, before, cache)
    made = plan(make_order(config, samples, now, now.description, cache))
    assert (made.kinds, made.to_buy) == (("logits",), ())
    more = config.model_copy(update={"budget": config.budget.model_copy(update={"n": 14})})
    made = plan(make_order(more, Samples.of(more), now, now.description, cache))
    assert (made.kinds, len(made.to_buy)) == (("label",), 14)
