"""Choose, buy, train, choose again: with a fake teacher, a real cache and real trainings."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill_worker.buying.fetch import Callbacks
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs.rounds import (
    SelectedSamples,
    all_samples,
    check_teacher,
    run_in_rounds,
    seconds_of_selecting,
    selected_samples,
)
from distill_worker.runs.sampling.candidate_pool import CandidatePool
from distill_worker.runs.sampling.samples import Samples, dataset_of
from distill_worker.runs.sampling.targets import Bought, load_bought, load_targets
from distill_worker.runs.train_student import train_student
from shared.sample_key import sample_keys
from shared.weights import load_weights
from tests.distill_worker.fake_teacher import Crash, FakeTeacher, describe
from tests.distill_worker.purchases import buy_as_configured

N, ROUNDS = 25, 3
BOUGHT = [9, 17, 25]


def _config(folder: Path, **budget: Any) -> RunConfig:
    """A run in three rounds on digits."""
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": N, "strategy": "badge", "rounds": ROUNDS, **budget},
        "teacher": {"request_size": 4, "concurrency": 1},
        "training": {"steps": 6, "batch_size": 8, "checkpoint_every": 2, "device": "cpu", "validation_share": 0.1},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    return parse_config(document, source="test")


@dataclass
class Buyer:
    """Buys and trains; `at` is called with (what, round, how far) and may raise."""

    folder: Path
    teacher: FakeTeacher = field(
        default_factory=lambda: FakeTeacher(description=describe(shape=(1, 8, 8), num_classes=10))
    )
    at: Callable[[str, int, int], None] = lambda _what, _round, _done: None
    seen: list[int] = field(default_factory=list)
    fresh: bool = False

    def run(self, **budget: Any) -> dict[str, Any]:
        """The whole run, or what is left of it."""
        return run_in_rounds(_config(self.folder, **budget), buy=self._buy, train=self._train)

    def _buy(self, selected: SelectedSamples) -> Bought:
        config, samples = _config(self.folder), selected.samples
        self.seen.append(len(samples.chosen))
        self.at("chosen", selected.rounds, 0)
        self.teacher.stopped = False

        def same_teacher(plan: Plan) -> bool:
            check_teacher(selected, plan.teacher_id)
            return False

        with Cache(config.output.cache) as cache:
            progress = Callbacks(progress=lambda done, _: self.at("bought", selected.rounds, done))
            made, _ = buy_as_configured(config, samples, self.teacher, cache, on_plan=same_teacher, callbacks=progress)
            return load_bought(cache, config, samples, made.teacher_id, made.kinds)

    def _train(self, here: RunConfig, samples: Samples, bought: Bought) -> dict[str, Any]:
        number = BOUGHT.index(len(samples.chosen)) + 1
        progress = partial(self.at, "trained", number)
        return train_student(here, samples, *bought, progress=lambda step, _: progress(step), fresh=self.fresh)


def _teacher(name: str) -> FakeTeacher:
    return FakeTeacher(description=describe(name, shape=(1, 8, 8), num_classes=10))


def _left_in(folder: Path) -> list[bytes]:
    """Every round's choice, and the last student."""
    names = [f"rounds/{number:04}.json" for number in range(1, ROUNDS + 1)]
    return [(folder / "run" / name).read_bytes() for name in [*names, "student.safetensors", "metrics.jsonl"]]


def _choice(folder: Path, number: int) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "run" / "rounds" / f"{number:04}.json").read_text())
    return read


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    buyer = Buyer(folder)
    result = buyer.run()
    assert (buyer.seen, buyer.teacher.paid, result["n"]) == (BOUGHT, N, N)
    return folder


def test_rounds_are_chosen_with_the_student_before(finished: Path) -> None:
    """The first by hash; each further one as the strategy says of the student on disk."""
    config = _config(finished)
    pool = CandidatePool.of(dataset_of(config), config)
    taken = [pool.key_of[position] for position in pool.ranked[:9]]
    assert _choice(finished, 1)["keys"] == [key.hex() for key in taken]
    for number in (2, 3):
        card, network, fingerprint = load_weights(finished / f"run/rounds/{number - 1:04}/student.safetensors")
        chosen = pool.further(8, taken, (card, network))
        choice = _choice(finished, number)
        assert choice["keys"] == [key.hex() for key in chosen]
        assert (choice["round"], choice["strategy"], choice["seed"]) == (number, "badge", 0)
        assert (choice["student"], choice["teacher_id"]) == (fingerprint, "t")
        assert card.provenance["n"] == len(taken)
        taken += chosen
    held_out = {pool.key_of[position] for position in pool.validation}
    assert len(set(taken)) == N
    assert not held_out & set(taken)


def test_last_student_is_that_of_a_run_on_these_samples(finished: Path, tmp_path: Path) -> None:
    """From scratch: to the last bit, whatever was trained before."""
    keys = [bytes.fromhex(key) for number in (1, 2, 3) for key in _choice(finished, number)["keys"]]
    samples = Samples.of(_config(tmp_path), keys)
    config = _config(finished)
    with Cache(config.output.cache) as cache:
        targets = load_targets(cache, "t", samples.keys)
    train_student(_config(tmp_path), samples, targets, "t")
    assert (tmp_path / "run/student.safetensors").read_bytes() == (finished / "run/student.safetensors").read_bytes()


def test_seconds_of_the_students_that_select_are_those_of_their_runs(finished: Path) -> None:
    """They are read from disk, so they count for a command that resumes, too. A run in one round has none."""
    runs = [json.loads((finished / f"run/rounds/000{number}/result.json").read_text()) for number in (1, 2)]
    assert seconds_of_selecting(_config(finished)) == pytest.approx(sum(run["seconds"] for run in runs))
    assert runs[0]["seconds"] > 0
    at_once = _config(finished, strategy="random", rounds=1)
    assert seconds_of_selecting(at_once) == 0


@pytest.mark.parametrize("what", ["chosen", "bought", "trained"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_run_that_ends_anywhere_goes_on_with_the_same_choice(
    what: str, number: int, finished: Path, tmp_path: Path
) -> None:
    """Ended before, within or after a purchase: the same choices, the same bits, and n paid."""

    def end(which: str, when: int, done: int) -> None:
        if (which, when) == (what, number) and (which != "trained" or done == 3):
            raise Crash

    first = Buyer(tmp_path, at=end)
    with pytest.raises(Crash):
        first.run()
    then = Buyer(tmp_path, teacher=first.teacher)
    then.run()
    assert _left_in(tmp_path) == _left_in(finished)
    assert first.teacher.paid == N
    assert then.seen == BOUGHT[number - 1 :]


@pytest.mark.parametrize(
    "budget",
    [
        {"strategy": "k-center-softmax", "first": "typical"},
        {"strategy": "typical", "first": "k-center", "features": "student"},
        {"strategy": "k-center", "features": "student"},
    ],
)
def test_any_strategy_with_a_student_goes_on_with_the_same_choice(budget: dict[str, Any], tmp_path: Path) -> None:
    """Ended within the second purchase."""

    def end(which: str, when: int, _done: int) -> None:
        if (which, when) == ("bought", 2):
            raise Crash

    undisturbed, first = Buyer(tmp_path / "undisturbed"), Buyer(tmp_path / "ended", at=end)
    undisturbed.run(**budget)
    with pytest.raises(Crash):
        first.run(**budget)
    Buyer(first.folder, teacher=first.teacher).run(**budget)
    assert _left_in(first.folder) == _left_in(undisturbed.folder)
    assert first.teacher.paid == undisturbed.teacher.paid == N


def test_choice_is_on_disk_before_it_is_bought(tmp_path: Path) -> None:
    def look(what: str, number: int, _done: int) -> None:
        if what == "chosen":
            assert len(_choice(tmp_path, number)["keys"]) == (9 if number == 1 else 8)
            assert buyer.teacher.paid == [0, 9, 17][number - 1]

    buyer = Buyer(tmp_path, at=look)
    buyer.run()


def test_choice_on_disk_is_never_made_again(finished: Path, tmp_path: Path) -> None:
    """Another machine may have chosen otherwise: what is written is bought."""
    folder = tmp_path / "run" / "rounds"
    folder.mkdir(parents=True)
    choice = _choice(finished, 1)
    config = _config(tmp_path)
    pool = CandidatePool.of(dataset_of(config), config)
    other = [pool.key_of[position].hex() for position in pool.candidates[100:109]]
    (folder / "0001.json").write_text(json.dumps({**choice, "keys": other}))
    assert [key.hex() for key in sorted(selected_samples(config, keep=False).samples.wanted)] == sorted(other)
    buyer = Buyer(tmp_path)
    buyer.run()
    assert {key.hex() for keys in buyer.teacher.charged.values() for key in keys} >= set(other)


def test_finished_run_buys_and_trains_nothing(finished: Path) -> None:
    before = _left_in(finished)
    buyer = Buyer(finished, at=lambda what, _round, _done: pytest.fail(what) if what != "chosen" else None)
    assert buyer.run()["n"] == N
    assert buyer.seen == [N]
    assert _left_in(finished) == before


def test_another_run_in_the_directory_is_refused(finished: Path) -> None:
    buyer = Buyer(finished)
    with pytest.raises(
        RunError, match=r"0001\.json: these samples were chosen for another run .budget.seed: 0 in the directory, 1 now"
    ):
        buyer.run(seed=1)
    assert buyer.seen == []


@pytest.mark.parametrize(
    ("first", "mended"),
    [
        ({"rounds": 1, "strategy": "typical", "n": 40}, {"rounds": 1, "strategy": "typical", "n": 20}),
        ({"rounds": 3, "n": 40}, {"rounds": 2, "n": 40}),
    ],
)
def test_choice_of_a_run_that_got_no_further_gives_way_and_is_kept(
    first: dict[str, Any], mended: dict[str, Any], tmp_path: Path
) -> None:
    """A typing error must not block the mended file; what may be paid for is not deleted. Planning moves nothing."""
    folder = tmp_path / "run" / "rounds"
    selected_samples(_config(tmp_path, **first), keep=True)
    before = (folder / "0001.json").read_text()
    planned = selected_samples(_config(tmp_path, **mended), keep=False)
    assert (folder / "0001.json").read_text() == before
    selected = selected_samples(_config(tmp_path, **mended), keep=True)
    assert selected.samples.chosen == planned.samples.chosen
    assert (folder / "before-1" / "0001.json").read_text() == before
    assert (folder / "0001.json").read_text() != before


@pytest.mark.parametrize("progress", ["result.json", "checkpoint.pt", "rounds/0001/checkpoint.pt"])
def test_choice_of_a_run_that_got_further_stays(progress: str, tmp_path: Path) -> None:
    selected_samples(_config(tmp_path), keep=True)
    file = tmp_path / "run" / progress
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    for keep in (False, True):
        with pytest.raises(RunError, match=r"0001\.json: these samples were chosen for another run .budget\.seed"):
            selected_samples(_config(tmp_path, seed=1), keep=keep)
    assert not (tmp_path / "run" / "rounds" / "before-1").exists()


def test_fresh_run_trains_the_student_of_a_round_again(tmp_path: Path) -> None:
    """Its directory holds a run on other test data, say: the choice stays, and nothing is paid for again."""

    def end(what: str, number: int, _done: int) -> None:
        if (what, number) == ("chosen", 2):
            raise Crash

    with pytest.raises(Crash):
        Buyer(tmp_path, at=end).run()
    (tmp_path / "run" / "rounds" / "0002.json").unlink()
    described = tmp_path / "run" / "rounds" / "0001" / "run.json"
    content = json.loads(described.read_text())
    content["identity"]["test_labels"] = "0123456789abcdef"
    described.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"rounds/0001: .*the labels of the test images have changed"):
        Buyer(tmp_path).run()
    buyer = Buyer(tmp_path, fresh=True)
    assert buyer.run()["n"] == N
    assert buyer.teacher.paid == N - BOUGHT[0]
    assert (described.parent / "before-1" / "student.safetensors").exists()


def test_another_teacher_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    def end(what: str, number: int, _done: int) -> None:
        if (what, number) == ("chosen", 2):
            raise Crash

    with pytest.raises(Crash):
        Buyer(tmp_path, at=end).run()
    other = _teacher("other")
    with pytest.raises(RunError, match=r"expected t, .*, got other; nothing was spent on this round"):
        Buyer(tmp_path, teacher=other).run()
    assert other.paid == 0


def test_damaged_choice_is_reported(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "rounds"
    folder.mkdir(parents=True)
    (folder / "0001.json").write_text(json.dumps(_choice(finished, 1))[:-40])
    with pytest.raises(RunError, match=r"0001\.json: cannot be read; restore it"):
        selected_samples(_config(tmp_path), keep=True)


def test_samples_of_all_rounds_are_known_at_the_end(finished: Path, tmp_path: Path) -> None:
    assert len(all_samples(_config(finished)).chosen) == N
    with pytest.raises(ConfigError, match=r"expected all 3 rounds to be selected, got 1;.*distill-worker run"):
        all_samples(_config(tmp_path))


@pytest.mark.parametrize(("strategy", "kept"), [("random", False), ("class-balanced", False), ("typical", True)])
def test_choice_at_once_is_kept_where_it_rests_on_floats(strategy: str, kept: bool, tmp_path: Path) -> None:
    """What hashes decide leaves nothing behind; planning never does."""
    config = _config(tmp_path, strategy=strategy, rounds=1)
    planned = selected_samples(config, keep=False)
    assert not (tmp_path / "run").exists()
    selected = selected_samples(config, keep=True)
    assert (selected.rounds, selected.later, selected.samples.chosen) == (1, 0, planned.samples.chosen)
    assert (tmp_path / "run" / "rounds" / "0001.json").exists() is kept
    assert selected_samples(config, keep=True).samples.keys == sample_keys(selected.samples.queried.numpy())


def test_bought_mixtures_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget\.rounds: expected 1 with bought mixtures"):
        parse_config(
            {
                "data": {"name": "digits"},
                "student": {"network": "resnet8"},
                "method": {"name": "mixup", "targets": "requeried", "mixtures": 10},
                "budget": {"n": N, "strategy": "margin", "rounds": 2},
            },
            source="test",
        )
