"""What `auto` chooses: a run that names no method is the run whose file states all that was chosen."""

from typing import Any

import pytest

from distill_worker.config.data_sections import Budget
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.errors import ConfigError
from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import KD


def _config(**sections: Any) -> RunConfig:
    base = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "budget": {"n": 50}}
    return parse_config({**base, **sections}, source="test")


_ON_A_POOL = SelfTraining(start="member", policy="auto", distorted_members=2, sharpening="by-classes", unsure_share=0.3)
_IN_ROUNDS = ("budget.strategy", "budget.first", "budget.features", "budget.rounds")


def _budget_in_rounds(n: int, rounds: int = 2) -> Budget:
    return Budget(n=n, strategy="k-center-softmax", first="coarse-to-fine", features="gradients", rounds=rounds)


@pytest.mark.parametrize("named", [{}, {"method": "auto"}, {"method": {"name": "auto"}}])
def test_run_that_leaves_all_open_compares_and_trains_itself(named: dict[str, Any]) -> None:
    config = _config(**named)
    assert config.methods == (KD(weight=0.45, by_classes=True), CKD(beta=0.45, by_classes=True))
    of_members = _ON_A_POOL.model_copy(update={"member_steps": 2500})
    assert (config.track, config.self_training) == ("unlabelled-pool", of_members)
    assert (config.training.steps, config.training.weight_decay) == (5000, 2e-3)
    assert config.training.batch_size == 32
    schedule = ("training.weight_decay", "training.batch_size", "training.steps")
    assert config.chosen_by_auto == ("method", "track", "self_training", *schedule, *_IN_ROUNDS)
    assert config.budget == _budget_in_rounds(50)


def test_what_the_file_states_stays() -> None:
    config = _config(track="queried", training={"steps": 7, "seed": 3})
    assert (config.track, config.self_training) == ("queried", None)
    assert (config.training.steps, config.training.seed, config.training.weight_decay) == (7, 3, 2e-3)
    assert config.training.batch_size == 64, "with the file's steps, its batch size or the usual one"
    assert config.chosen_by_auto == ("method", "training.weight_decay", *_IN_ROUNDS)
    assert _config(track="labelled-pool").self_training is None
    assert _config(training={"steps": 7}).self_training == _ON_A_POOL, "all networks take the file's steps"
    own = _config(self_training={"members": 2})
    assert (own.track, own.self_training) == ("unlabelled-pool", SelfTraining(members=2))
    assert own.training.steps == 2500, "of all networks"
    assert "self_training" not in own.chosen_by_auto


@pytest.mark.parametrize(
    "stated",
    [
        {"n": 50, "strategy": "random"},
        {"n": 50, "strategy": "k-center", "features": "student", "rounds": 2},
        {"n": 50, "strategy": "margin", "rounds": 2, "first": "typical"},
        {},
    ],
)
def test_stated_selection_stays(stated: dict[str, Any]) -> None:
    config = _config(budget=stated)
    assert config.budget == Budget(**stated)
    assert not [name for name in config.chosen_by_auto if name.startswith("budget")]


@pytest.mark.parametrize(("n", "rounds"), [(15, 1), (16, 2), (99, 2), (100, 4), (10_000, 4)])
def test_few_samples_are_selected_in_fewer_rounds(n: int, rounds: int) -> None:
    one_round = Budget(n=n, strategy="coarse-to-fine", features="gradients")
    assert _config(budget={"n": n}).budget == (one_round if rounds == 1 else _budget_in_rounds(n, rounds))


def test_stated_rounds_stay() -> None:
    one = _config(budget={"n": 50, "rounds": 1})
    assert one.budget == Budget(n=50, strategy="coarse-to-fine", features="gradients")
    assert one.self_training is not None
    assert one.self_training.policy == "crop-flip", "no later round can judge"
    assert one.chosen_by_auto[-2:] == ("budget.strategy", "budget.features")
    four = _config(budget={"n": 8, "rounds": 4})
    assert four.budget == _budget_in_rounds(8, rounds=4)
    assert four.chosen_by_auto[-3:] == ("budget.strategy", "budget.first", "budget.features")


def test_budget_of_all_trainings_takes_the_place_of_steps() -> None:
    config = _config(training={"budget": "2 min"})
    assert "training.steps" not in config.chosen_by_auto
    assert (config.training.weight_decay, config.self_training) == (2e-3, _ON_A_POOL)
    assert config.training.batch_size == 32


def test_student_of_bought_images_alone_has_the_steps_of_a_member_and_no_ensemble() -> None:
    config = _config(track="queried")
    assert (config.training.steps, config.self_training) == (2500, None)
    stated = _config(track="queried", self_training={"members": 2})
    assert (stated.training.steps, stated.self_training) == (2500, SelfTraining(members=2))


def test_run_that_names_a_method_is_left_as_it_is() -> None:
    config = _config(method={"name": "kd"})
    assert (config.methods, config.track, config.training.steps) == ((KD(),), "queried", 600)
    assert config.chosen_by_auto == ()


@pytest.mark.parametrize(
    "sections",
    [
        {"budget": {}},
        {"training": {"protocol": "paper"}},
        {"budget": {"n": 50, "strategy": "class-balanced"}},
        {"budget": {"n": 50, "strategy": "margin", "rounds": 2, "first": "class-balanced"}},
    ],
)
def test_track_is_queried_where_no_image_is_left_or_labels_select_or_epochs_are_counted(
    sections: dict[str, Any],
) -> None:
    assert _config(**sections).track == "queried"


def test_paper_protocol_keeps_its_schedule() -> None:
    training = _config(training={"protocol": "paper"}).training
    assert (training.weight_decay, training.steps) == (5e-4, 600)


@pytest.mark.parametrize(
    ("n", "batch_size", "steps"),
    [(10, 32, 2_500), (50, 32, 2_500), (99, 32, 4_950), (100, 32, 5_000), (2_000, 32, 5_000), (2_001, 32, 5_003)],
)
def test_steps_grow_with_the_samples(n: int, batch_size: int, steps: int) -> None:
    assert _config(track="queried", budget={"n": n}, training={"batch_size": batch_size}).training.steps == steps


def test_choice_is_read_again_as_it_was_written() -> None:
    config = _config()
    assert parse_config(config.model_dump(mode="json"), source="test") == config


def test_run_is_the_one_whose_file_states_what_was_chosen() -> None:
    config = _config()
    stated = config.model_copy(update={"chosen_by_auto": ()})
    assert stated.identity == config.identity


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"plus": [{"name": "dist"}]}, "test: plus: expected no value beside the method 'auto'"),
        ({"method": {"name": "auto", "weight": 3}}, "test: method.weight: expected no value beside the method 'auto'"),
        ({"method": "kdd"}, "test: method: expected"),
        ({"training": 5}, "test: training: expected a section, got 5"),
        ({"budget": {"n": "many"}}, "test: budget.n: expected .*, got 'many'"),
        ({"budget": {"strategy": ["random"]}}, "test: budget.strategy: expected"),
        ({"budget": {"n": 50, "rounds": "two"}}, "test: budget.rounds: expected .*, got 'two'"),
        ({"training": {"batch_size": 0}}, "test: training.batch_size: expected .*, got 0"),
    ],
)
def test_what_cannot_be_chosen_beside_is_an_error(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _config(**sections)
