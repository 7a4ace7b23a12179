"""What a run chooses of a data set: independent of its order, with validation drawn at random."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset, Split
from distill_worker.data.selection import STRATEGIES, Candidates, choose, rank
from distill_worker.data.selection.features import outputs_of, pixels
from distill_worker.errors import ConfigError, TrainingDiverged
from distill_worker.runs.sampling.candidate_pool import CandidatePool
from distill_worker.runs.sampling.samples import Samples
from shared.networks import build_network
from shared.sample_key import sample_keys
from shared.weights import WeightsCard, weights_bytes

AT_ONCE = [name for name, strategy in STRATEGIES.items() if not strategy.needs_student]
IN_ROUNDS = [name for name, strategy in STRATEGIES.items() if strategy.needs_student]


def config_of(track: str = "queried", share: float = 0.0, **budget: Any) -> RunConfig:
    """A run on digits."""
    document: Mapping[str, Any] = {
        "track": track,
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "pseudo-label" if track == "unlabelled-pool" else "ce"},
        "budget": {"n": 40, **budget},
        "training": {"validation_share": share, "batch_size": 8},
    }
    return parse_config(document, source="test")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    dataset = load_dataset("digits", Path("data"))
    return replace(dataset, train=Split(dataset.train.images[:300], dataset.train.needed_labels[:300]))


@pytest.fixture(scope="module")
def student(digits: Dataset) -> tuple[WeightsCard, torch.nn.Module]:
    """An untrained one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network("resnet8", num_classes=10, in_channels=1)
    card = WeightsCard(
        network="resnet8",
        num_classes=10,
        in_channels=1,
        image_size=(8, 8),
        mean=digits.mean,
        std=digits.std,
        class_names=digits.class_names,
    )
    return card, network.eval()


def _backwards(dataset: Dataset) -> Dataset:
    split = dataset.train
    return replace(dataset, train=Split(split.images.flip(0).contiguous(), split.needed_labels.flip(0).contiguous()))


@pytest.mark.parametrize("name", AT_ONCE)
def test_choice_does_not_depend_on_the_order_of_the_data_set(name: str, digits: Dataset) -> None:
    config = config_of(strategy=name, share=0.2)
    here, there = (CandidatePool.of(dataset, config) for dataset in (digits, _backwards(digits)))
    assert here.first() == there.first()
    assert [here.key_of[at] for at in here.candidates] == [there.key_of[at] for at in there.candidates]


@pytest.mark.parametrize("name", IN_ROUNDS)
def test_students_choice_does_not_depend_on_the_order_of_the_data_set(
    name: str, digits: Dataset, student: tuple[WeightsCard, torch.nn.Module]
) -> None:
    config = config_of(strategy=name, rounds=2)
    chosen = []
    for dataset in (digits, _backwards(digits)):
        pool = CandidatePool.of(dataset, config)
        chosen.append(pool.further(20, pool.first(), student))
        assert not set(chosen[-1]) & set(pool.first())
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == 20


@pytest.mark.parametrize(("name", "features"), [*((name, "pixels") for name in IN_ROUNDS), ("k-center", "student")])
def test_student_that_diverged_selects_nothing(
    name: str, features: str, digits: Dataset, student: tuple[WeightsCard, torch.nn.Module]
) -> None:
    """Among outputs that are no numbers, k-center selects the same sample again and again."""
    pool = CandidatePool.of(digits, config_of(strategy=name, rounds=2, features=features))
    card, network = student[0], deepcopy(student[1])
    next(network.parameters()).data.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match=r"budget\.strategy: expected finite outputs of the student"):
        pool.further(20, pool.first(), (card, network))


@pytest.mark.parametrize("name", ["k-center", "typical"])
def test_features_of_the_student_choose_in_later_rounds_in_any_order_of_the_data_set(
    name: str, digits: Dataset, student: tuple[WeightsCard, torch.nn.Module]
) -> None:
    """As the strategy itself chooses among the inputs of the student's last layer; the first round compares pixels."""
    config = config_of(strategy=name, rounds=2, features="student", first="typical")
    pool, backwards = (CandidatePool.of(dataset, config) for dataset in (digits, _backwards(digits)))
    taken = pool.first()
    assert taken == CandidatePool.of(digits, config_of(strategy="typical", n=20)).first()
    chosen = pool.further(20, taken, student)
    assert chosen == backwards.further(20, taken, student)
    card, network = student
    images = digits.train.images[torch.tensor(pool.candidates)]
    candidates = Candidates(len(images), 0, features=outputs_of(network, card, images)[1])
    keys = [pool.key_of[position] for position in pool.candidates]
    assert chosen == [keys[place] for place in choose(name, candidates, 20, [keys.index(key) for key in taken])]
    candidates = replace(candidates, features=pixels(images))
    assert chosen != [keys[place] for place in choose(name, candidates, 20, [keys.index(key) for key in taken])]


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_random_choice_is_the_one_it_always_was(share: float, digits: Dataset) -> None:
    """The first of the ranking, and the next for validation."""
    samples = Samples.among(digits, config_of(share=share, seed=5))
    ranked = rank(sample_keys(digits.train.images.numpy()), 5)
    assert samples.chosen == sorted(ranked[:40])
    assert samples.validation == sorted(ranked[40 : 40 + round(share * 50)])
    assert samples.candidates == sorted(ranked)


@pytest.mark.parametrize("name", AT_ONCE[1:])
def test_validation_is_drawn_before_the_strategy_chooses(name: str, digits: Dataset) -> None:
    """The same, whatever the strategy: the last of the ranking."""
    samples = Samples.among(digits, config_of(strategy=name, share=0.2))
    ranked = rank(sample_keys(digits.train.images.numpy()), 0)
    assert samples.validation == sorted(ranked[-10:])
    assert not set(samples.validation) & set(samples.chosen)
    assert len(samples.chosen) == 40


@pytest.mark.parametrize("name", AT_ONCE)
def test_seeds_choose_differently(name: str, digits: Dataset) -> None:
    first, second = (Samples.among(digits, config_of(strategy=name, seed=seed)).chosen for seed in (0, 1))
    assert first != second


def test_classes_are_balanced(digits: Dataset) -> None:
    samples = Samples.among(digits, config_of(strategy="class-balanced"))
    assert samples.dataset.train.needed_labels[torch.tensor(samples.chosen)].bincount().tolist() == [4] * 10


def test_features_of_a_network_choose_otherwise_than_pixels(
    digits: Dataset, student: tuple[WeightsCard, torch.nn.Module], tmp_path: Path
) -> None:
    card, network = student
    (tmp_path / "network.safetensors").write_bytes(weights_bytes(network, card))
    features = str(tmp_path / "network.safetensors")
    by_features = Samples.among(digits, config_of(strategy="k-center", features=features)).chosen
    assert by_features != Samples.among(digits, config_of(strategy="k-center")).chosen


def test_weights_that_do_not_fit_are_refused(
    digits: Dataset, student: tuple[WeightsCard, torch.nn.Module], tmp_path: Path
) -> None:
    card, network = student
    path = tmp_path / "network.safetensors"
    path.write_bytes(weights_bytes(network, card.model_copy(update={"image_size": (9, 9)})))
    with pytest.raises(ConfigError, match=r"budget\.features: expected .*\[1, 8, 8\], got one for \[1, 9, 9\]"):
        Samples.among(digits, config_of(strategy="typical", features=str(path)))
    with pytest.raises(ConfigError, match=r"budget\.features: .*no such weights file"):
        Samples.among(digits, config_of(strategy="typical", features=str(tmp_path / "absent")))


@pytest.mark.parametrize("name", AT_ONCE)
def test_too_few_samples_are_refused(name: str, digits: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"budget\.n: expected at most 300.*got 290 besides 72 for validation"):
        Samples.among(digits, config_of(strategy=name, n=290, share=0.2))


def test_choice_in_rounds_is_not_made_at_once(digits: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"budget\.strategy: entropy chooses with a student.*distill-worker run"):
        Samples.among(digits, config_of(strategy="entropy", rounds=2))


def test_samples_that_are_not_there_are_refused(digits: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"1 of 2 samples that were chosen earlier are not in this data set"):
        Samples.among(digits, config_of(), [sample_keys(digits.train.images[:1].numpy())[0], bytes(32)])


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"strategy": "best"}, "budget.strategy: expected one of random, class-balanced, "),
        ({"strategy": "entropy"}, "rounds: expected at least 2, because entropy chooses with a student"),
        (
            {"strategy": "typical", "rounds": 2},
            "rounds: expected 1, because typical chooses without a student, got 2; with features = 'student', it "
            "chooses in rounds",
        ),
        (
            {"strategy": "k-center", "features": "student"},
            "rounds: expected at least 2, because k-center with the features 'student' chooses with a student, got 1",
        ),
        ({"features": "student"}, "features: expected no value, because random uses no features, got 'student'"),
        (
            {"strategy": "entropy", "rounds": 2, "first": "typical", "features": "student"},
            "features: expected no value, because entropy uses no features, got 'student'",
        ),
        ({"strategy": "margin", "rounds": 2, "first": "badge"}, "first: expected a strategy that needs no student"),
        ({"strategy": "margin", "rounds": 40}, "rounds: expected fewer than the 40 samples, got 40"),
        ({"strategy": "margin", "rounds": 2, "n": None}, "n: required with rounds"),
        ({"first": "typical"}, "first: expected no value, because random has one round"),
        ({"features": "file"}, "features: expected no value, because random uses no"),
        ({"strategy": "badge", "rounds": 2, "features": "file"}, "features: expected no value, because random uses"),
    ],
)
def test_budget_that_makes_no_sense_is_refused(budget: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(**budget)
    assert message in str(raised.value)
    assert "budget" in str(raised.value)


def test_labels_that_the_track_has_not_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"budget\.strategy: expected a strategy without labels.*unlabelled-pool.*class-balanced"
    ):
        config_of("unlabelled-pool", strategy="class-balanced")


@pytest.mark.parametrize(
    ("n", "rounds", "sizes"), [(40, 4, (10, 10, 10, 10)), (41, 3, (15, 13, 13)), (5, 4, (2, 1, 1, 1)), (7, 1, (7,))]
)
def test_rounds_are_equal_and_the_first_takes_the_remainder(n: int, rounds: int, sizes: tuple[int, ...]) -> None:
    strategy = "entropy" if rounds > 1 else "random"
    assert config_of(n=n, rounds=rounds, strategy=strategy).budget.sizes == sizes


@pytest.mark.parametrize("strategy", AT_ONCE)
def test_held_out_samples_are_drawn_at_random_whatever_the_strategy(strategy: str, digits: Dataset) -> None:
    """They are the first in hash order, are bought first, and are neither selected nor left in the pool."""
    samples = Samples.among(digits, config_of(strategy=strategy, holdout=15))
    assert samples.held_out is not None
    keys = sample_keys(digits.train.images.numpy())
    assert samples.held_out.keys == [keys[place] for place in rank(keys, 0)[:15]]
    assert (len(samples.keys), samples.n) == (25, 40)
    assert list(samples.wanted)[:15] == samples.held_out.keys
    assert set(samples.wanted) == set(samples.bought_keys)
    assert not set(samples.held_out.keys) & set(samples.keys)
    assert not {keys[position] for position in samples.unbought} & set(samples.bought_keys)


def test_larger_run_buys_what_a_smaller_one_held_out_and_no_more(digits: Dataset) -> None:
    small, large = (set(Samples.among(digits, config_of(n=n, holdout=n // 4)).bought_keys) for n in (40, 80))
    assert small < large


def test_holdout_must_leave_samples(digits: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"budget\.holdout: expected at most 2\d\d, which leaves 2 of the"):
        Samples.among(digits, config_of(n=None, holdout=299))
