"""The price is said before it is paid, and nothing is paid that was not agreed to."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.config.teacher_address import OpenInferenceAddress
from distill_worker.errors import TeacherUnavailable
from distill_worker.runs.purchase import Source
from distill_worker.teachers.base import Rate
from tests.distill_worker import http_teacher
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

PRICED = ("--set", "teacher.price_per_call=0.25", "--set", "teacher.currency=EUR")


def test_plan_tells_money_and_time(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Ten samples at a quarter; of twelve a minute, two remain now: eight need 40 seconds."""
    teacher.rates = (Rate("samples", 12, 2), Rate("requests", 60, 60))
    facts = facts_of(command("plan", config, "--json", *PRICED))
    assert (facts["price"], facts["currency"], facts["seconds_at_allowed_rate"]) == (2.5, "EUR", 40.0)
    told = command("plan", config, *PRICED).stdout
    assert "2.50 EUR" in told
    assert "40 s or more at the allowed rate" in told
    assert teacher.sent == []


def test_small_prices_are_not_rounded_away(command: Command, config: Path, teacher: FakeTeacher) -> None:
    told = command("plan", config, "--set", "teacher.price_per_call=0.0002").stdout
    assert "at most 0.0020 USD" in told
    assert teacher.sent == []


@pytest.mark.parametrize("name", ["plan", "fetch", "run", "train"])
def test_precision_is_shown_before_anything_is_checked(command: Command, config: Path, name: str) -> None:
    """Because the checks take up to a minute if they compile the student."""
    shown = command(name, config, "--set", "training.precision=float16").stderr
    assert shown.startswith("the student trains in float16, channels_last, on cpu\n")


def test_plan_in_rounds_tells_what_the_rounds_to_come_cost(
    command: Command, config: Path, teacher: FakeTeacher
) -> None:
    """The first round's five are chosen; the five that a student will choose cost as much, and the quota is short."""
    rounds = ("--set", "budget.strategy=entropy", "--set", "budget.rounds=2")
    facts = facts_of(command("plan", config, "--json", *PRICED, *rounds))
    assert (facts["to_buy"], facts["price"], facts["later"], facts["later_price"]) == (5, 1.25, 5, 1.25)
    ended = command("plan", config, *PRICED, *rounds)
    assert "later rounds buy 5 more, or fewer if some are cached, for at most 1.25 EUR" in ended.stderr
    assert "too small" not in ended.stderr
    teacher.limit = 9
    for name in ("plan", "run"):
        ended = command(name, config, *rounds)
        assert ended.status == 5
        assert "budget.n: expected a quota for 10 calls in this and later rounds, got 9 of 9 calls left" in ended.stderr
        assert "Nothing was spent. Lower n by 1, or get a larger quota; --max-calls 9 buys a part" in ended.stderr
    assert teacher.sent == []


def test_plan_without_a_price_tells_none(command: Command, config: Path, teacher: FakeTeacher) -> None:
    facts = facts_of(command("plan", config, "--json"))
    assert (facts["price"], facts["currency"], facts["seconds_at_allowed_rate"]) == (None, None, 0.0)
    assert teacher.sent == []


def test_no_more_than_max_calls_are_bought(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Asked again, the next ones; what is left is said, and in the end everything is held."""
    first = facts_of(command("fetch", config, "--max-calls", 6, "--json"))
    assert (first["to_buy"], first["bought"], first["left_out"], teacher.paid) == (6, 6, 4, 6)
    planned = facts_of(command("plan", config, "--max-calls", 3, "--json"))
    assert (planned["cached"], planned["to_buy"], planned["left_out"]) == (6, 3, 1)
    ended = command("fetch", config, "--max-calls", 3)
    assert ended.stdout.endswith("3 bought now; 1 to buy later\n")
    assert facts_of(command("fetch", config, "--max-calls", 9, "--json"))["left_out"] == 0
    assert teacher.paid == 10


def test_nothing_is_bought_again_from_another_folder(
    command: Command, config: Path, teacher: FakeTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with the default cache nor with a relative one, and a folder named ~ is not created."""
    lines = [line for line in config.read_text().splitlines() if not line.startswith("output")]
    config.write_text("\n".join(lines))
    named = config.with_name("named.toml")
    named.write_text("\n".join([*lines, 'output.cache = "~/bought.sqlite"']))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for file in (config, named):
        paid = teacher.paid
        for name in ("here", "there"):
            (tmp_path / name).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / name)
            command("fetch", file, "--json")
        assert teacher.paid == paid + 10
    assert (tmp_path / "runs/cache.sqlite").is_file()
    assert (tmp_path / "home/bought.sqlite").is_file()
    assert list((tmp_path / "there").iterdir()) == []


def test_max_calls_of_none_buys_nothing(command: Command, config: Path, teacher: FakeTeacher) -> None:
    assert facts_of(command("fetch", config, "--max-calls", 0, "--json"))["bought"] == 0
    assert teacher.paid == 0


def test_purchase_left_open_counts_among_the_most_calls(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Whether it was charged is not known: it is repeated when there is room for it, and is free if it was."""
    teacher.will(("after", TeacherUnavailable("lost")))
    assert command("fetch", config, "--set", "teacher.give_up_after_seconds=0").status == 4
    assert teacher.paid == 4
    limited = command("fetch", config, "--max-calls", 3)
    assert "--max-calls: expected at least 4, the samples of an open purchase" in limited.stderr
    assert limited.status == 5
    assert len(teacher.sent) == 1
    assert facts_of(command("fetch", config, "--max-calls", 4, "--json"))["bought"] == 4
    assert teacher.paid == 4


def test_known_price_needs_a_word_where_nobody_can_be_asked(
    command: Command, config: Path, teacher: FakeTeacher
) -> None:
    """Not a terminal: refused with the price, unless --yes or --max-calls says what may be spent."""
    refused = command("fetch", config, *PRICED)
    assert refused.status == 5
    assert (
        "expected --yes, or --max-calls with the most samples to buy now, before 10 calls can be spent for 2.50 EUR"
        in refused.stderr
    )
    assert command("run", config, *PRICED).status == 5
    assert teacher.paid == 0
    assert facts_of(command("fetch", config, *PRICED, "--max-calls", 4, "--json"))["bought"] == 4
    assert facts_of(command("fetch", config, *PRICED, "--yes", "--json"))["bought"] == 6
    assert facts_of(command("fetch", config, *PRICED, "--json"))["bought"] == 0, "nothing to pay, nothing to ask"


@pytest.mark.parametrize("limit", [100, 7], ids=["no agreement", "quota too small"])
def test_open_purchase_is_not_given_up_before_the_purchase_is_agreed_to(
    command: Command, config: Path, teacher: FakeTeacher, limit: int
) -> None:
    """Otherwise a rejected command would lose what could be repeated for free. With the agreement it is paid again."""
    teacher.will(("after", TeacherUnavailable("lost")))
    assert command("fetch", config, "--set", "teacher.give_up_after_seconds=0").status == 4
    teacher.limit = limit
    assert command("fetch", config, *PRICED, "--abandon", "all").status == 5
    planned = facts_of(command("plan", config, "--max-calls", 4, "--json"))
    assert (planned["begun_earlier"], planned["to_buy"]) == (4, 0)
    teacher.limit = 100
    bought = facts_of(command("fetch", config, *PRICED, "--abandon", "all", "--yes", "--json"))
    assert (bought["bought"], bought["paid_again"], teacher.paid) == (10, 4, 14)


@pytest.mark.parametrize(("answer", "paid"), [("y\n", 10), ("n\n", 0), ("\n", 0)])
def test_terminal_is_asked_before_anything_is_spent(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch, answer: str, paid: int
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        assert teacher.paid == 0
        return answer == "y\n"

    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    ended = command("fetch", config, *PRICED)
    assert asked == ["spend 10 calls for 2.50 EUR?"]
    assert teacher.paid == paid
    assert ended.status == (0 if paid else 5)
    if not paid:
        assert ended.stderr.splitlines()[-1] == "error: nothing was spent"


def test_warm_run_asks_nobody(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Everything is held: no request at all, and the same result, though the teacher is gone."""
    first = facts_of(command("run", config, "--json"))
    teacher.describe = teacher.quota = lambda: pytest.fail("it was asked")  # type: ignore[method-assign]
    ended = command("run", config, "--json", "--fresh")
    assert "all 10 wanted outputs are cached; no request was sent" in ended.stderr
    assert facts_of(ended)["accuracy"] == first["accuracy"]
    assert facts_of(command("fetch", config, "--json"))["bought"] == 0
    assert teacher.paid == 10


@pytest.mark.usefixtures("teacher")
def test_teacher_at_another_address_is_asked(command: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held was bought elsewhere, and whether the same teacher answers here is not known."""
    facts_of(command("fetch", config, "--json"))
    monkeypatch.setenv("TEACHER_URL", "http://127.0.0.1:1")
    assert "cannot be reached" in command("fetch", config).stderr


@pytest.mark.usefixtures("teacher")
def test_reconcile_agrees_after_a_purchase(command: Command, config: Path) -> None:
    """By the counter, for this teacher keeps no log."""
    facts_of(command("fetch", config, "--json"))
    facts = facts_of(command("reconcile", config, "--json"))
    assert (facts["by"], facts["charged"], facts["differences"]) == ("counter", 10, 0)
    assert "the teacher charged 10 samples, by its counter" in command("reconcile", config).stdout


def test_reconcile_ends_with_status_6_when_the_bill_differs(
    command: Command, config: Path, teacher: FakeTeacher
) -> None:
    """Somebody else spent five with the same key."""
    facts_of(command("fetch", config, "--json"))
    teacher.charged["elsewhere"] = [bytes(32)] * 5
    ended = command("reconcile", config, "--json")
    assert ended.status == 6
    assert json.loads(ended.stdout)["differences"] == 1
    assert "differ in 5 samples" in ended.stderr
    assert command("reconcile", config, "--shared-key").status == 0


@pytest.mark.usefixtures("teacher")
def test_provenance_of_what_was_bought_is_kept(command: Command, config: Path) -> None:
    facts_of(command("fetch", config, "--json"))
    with Cache(config.parent / "cache.sqlite") as cache:
        records = list(cache.purchases())
    assert [len(record.sample_keys) for record in records] == [4, 4, 2]
    for record in records:
        assert (record.status, record.model_version, record.kinds) == ("done", "t", ("logits",))
        assert record.finished_at is not None
        assert record.finished_at >= record.created_at


def test_same_teacher_under_another_address_is_not_paid_unasked(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a fingerprint its name contains the address; the note says what to set, and set so, nothing is bought."""
    monkeypatch.setattr(http_teacher, "EXTENSIONS", ())
    first = os.environ["TEACHER_URL"]
    assert facts_of(command("fetch", config, "--yes", "--json"))["bought"] == 10
    monkeypatch.setenv("TEACHER_URL", first.replace("127.0.0.1", "localhost"))
    planned = command("plan", config)
    assert (
        f"10 samples to buy have their outputs in the cache, in an open purchase, or in a kept answer, "
        f"from teacher {first}/teacher/t" in planned.stdout
    )
    assert "TEACHER_URL" in planned.stdout
    ended = command("fetch", config)
    assert ended.status != 0
    assert "maybe for outputs that are in the cache. Nothing was spent" in " ".join(ended.stderr.split())
    assert teacher.paid == 10
    monkeypatch.setenv("TEACHER_URL", first)
    assert facts_of(command("fetch", config, "--json"))["bought"] == 0
    monkeypatch.setenv("TEACHER_URL", first.replace("127.0.0.1", "localhost"))
    assert facts_of(command("fetch", config, "--yes", "--json"))["bought"] == 10


@pytest.fixture
def whole_set(config: Path, tmp_path: Path, teacher: FakeTeacher) -> Path:
    """A run on all of twelve images of its own: `budget.n` is not set."""
    teacher.limit = None
    images, labels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8), np.arange(12) % 10
    splits: dict[str, Any] = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images,
        "test_labels": labels,
    }
    np.savez(tmp_path / "data.npz", **splits)
    text = config.read_text().replace("budget.n = 10\n", "")
    config.write_text(text.replace('data.name = "digits"', f'data = {{name = "npz", path = "{tmp_path}/data.npz"}}'))
    return config


@pytest.mark.parametrize("name", ["fetch", "run"])
@pytest.mark.parametrize("options", [(), ("--yes",), ("--all",)])
def test_whole_training_set_is_not_bought_without_a_word(
    command: Command, whole_set: Path, teacher: FakeTeacher, name: str, options: tuple[str, ...]
) -> None:
    """The error says how many calls it would have been."""
    ended = command(name, whole_set, *options)
    assert ended.status == 5
    assert "budget.n: expected the number of samples to buy, got none, which means 12 calls" in ended.stderr
    assert (
        "Set budget.n or --n, buy a part with --max-calls, or buy the whole training set with --all --yes"
        in ended.stderr
    )
    assert teacher.sent == []


def test_whole_training_set_is_bought_with_a_number_or_a_word(
    command: Command, whole_set: Path, teacher: FakeTeacher
) -> None:
    assert facts_of(command("plan", whole_set, "--json"))["to_buy"] == 12
    assert "budget.n is not set: this is the whole training set" in command("plan", whole_set).stderr
    assert facts_of(command("fetch", whole_set, "--max-calls", 3, "--json"))["bought"] == 3
    assert facts_of(command("fetch", whole_set, "--all", "--yes", "--json"))["bought"] == 9
    assert facts_of(command("fetch", whole_set, "--json"))["bought"] == 0, "nothing to buy, nothing to say"
    assert facts_of(command("run", whole_set, "--json"))["n"] == 12
    assert teacher.paid == 12


@pytest.mark.parametrize("options", [(), ("--yes",), ("--all",)])
def test_terminal_is_asked_for_the_whole_training_set(
    command: Command,
    whole_set: Path,
    teacher: FakeTeacher,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    """With its number; the answer is on standard error, so that --json stays one object."""
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        assert err
        asked.append(question)
        return True

    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    assert facts_of(command("fetch", whole_set, *options, "--json"))["bought"] == 12
    assert asked == ["spend 12 calls, the whole training set, because budget.n is not set?"]
    assert teacher.paid == 12


def test_all_beside_a_number_is_a_contradiction(command: Command, config: Path, teacher: FakeTeacher) -> None:
    ended = command("fetch", config, "--all", "--yes")
    assert ended.status == 2
    assert "--all: expected no budget.n beside it, got 10" in ended.stderr
    assert teacher.sent == []


def test_negative_max_calls_is_rejected(command: Command, config: Path, teacher: FakeTeacher) -> None:
    ended = command("fetch", config, "--max-calls", -1)
    assert ended.status == 2
    assert "Invalid value for '--max-calls': expected at least 0, got '-1'" in ended.stderr
    assert teacher.sent == []


def test_interrupted_question_spends_nothing(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here by the end of the input; an interrupt ends the question in the same way."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    ended = command("fetch", config)
    assert ended.status == 130
    assert "nothing was spent" in ended.stderr
    assert teacher.sent == []


def test_who_is_paid_is_shown_before_the_purchase(
    command: Command, config: Path, tmp_path: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL without secrets, the name of the key, and what the environment overrides."""
    teacher.key_name = "laboratory"
    url = os.environ["TEACHER_URL"]
    monkeypatch.setenv("TEACHER_URL", url.replace("http://", "http://user:secret@"))
    monkeypatch.setenv("TEACHER_API_KEY", "tk_secret")
    (tmp_path / "key").write_text("tk_other")
    monkeypatch.setenv("TEACHER_API_KEY_FILE", str(tmp_path / "key"))
    planned, fetched = command("plan", config), command("fetch", config)
    line = (
        f"at {url} (TEACHER_URL overrides http://127.0.0.1:1), with the API key 'laboratory' in TEACHER_API_KEY, which "
        "overrides TEACHER_API_KEY_FILE"
    )
    assert line in planned.stdout
    assert line in fetched.stderr
    assert "secret" not in planned.stdout + planned.stderr + fetched.stdout + fetched.stderr
    facts = facts_of(command("plan", config, "--json", "--set", "budget.n=12"))
    assert (facts["url"], facts["key_name"], facts["from_environment"]) == (
        url,
        "laboratory",
        ["TEACHER_URL", "TEACHER_API_KEY"],
    )


def test_source_without_an_environment_is_that_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEACHER_URL", "TEACHER_API_KEY", "TEACHER_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    source = Source.of(OpenInferenceAddress(url="https://me:secret@teacher.example/"))
    assert source.described(None) == "at https://teacher.example, without an API key"
    assert source.facts() == {"url": "https://teacher.example", "from_environment": []}


def test_limit_of_a_run_in_rounds_is_of_all_its_rounds(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Two rounds of five under a limit of seven: the second one gets two, and the next command buys the other three."""
    rounds = ("--set", "budget.strategy=entropy", "--set", "budget.rounds=2")
    ended = command("run", config, *rounds, "--max-calls", 7)
    assert ended.status == 5
    assert "--max-calls: expected all 10 outputs in the cache before a student is trained, got 7" in ended.stderr
    assert "later rounds buy 5 more" in ended.stderr
    assert "--held" not in ended.stderr
    assert teacher.paid == 7
    assert facts_of(command("run", config, *rounds, "--max-calls", 3, "--json"))["n"] == 10
    assert teacher.paid == 10


def test_question_of_a_run_in_rounds_is_asked_once(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It includes the later rounds. A command that goes on with them asks for what is left."""
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    rounds = ("--set", "budget.strategy=entropy", "--set", "budget.rounds=2", *PRICED)
    facts_of(command("run", config, *rounds, "--json"))
    assert asked == ["spend 5 calls for 1.25 EUR now, and up to 5 more in later rounds?"]
    assert teacher.paid == 10

    other = ("--set", "budget.seed=1", "--set", f"output.directory={config.parent / 'other'}", *rounds)
    command("fetch", config, *other)
    asked.clear()
    command("run", config, *other)
    assert asked == ["spend 5 calls for 1.25 EUR?"]


def test_white_space_around_the_url_is_no_override() -> None:
    assert Source.of(OpenInferenceAddress(url=" https://teacher.example\n")).overridden_url is None


def test_later_round_advises_what_helps_it(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Its first round is paid and trained, so a lower n would be another run."""
    rounds = ("--set", "budget.strategy=entropy", "--set", "budget.rounds=2")
    assert command("run", config, *rounds, "--max-calls", 5).status == 5
    teacher.limit = 7
    ended = command("run", config, *rounds)
    assert ended.status == 5
    assert "Nothing was spent in this round. Get a larger quota; --max-calls 2 buys a part" in ended.stderr
    assert teacher.paid == 5
