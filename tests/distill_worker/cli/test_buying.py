"""The price is said before it is paid, and nothing is paid that was not agreed to."""

import json
import os
from pathlib import Path

import pytest

from distill_worker.cache import Cache
from distill_worker.errors import TeacherUnavailable
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
    assert "the quota is too small for all rounds: 9 calls remaining" in command("plan", config, *rounds).stderr
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
    assert command("fetch", config, "--max-calls", 3).status == 5
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


@pytest.mark.parametrize(("answer", "paid"), [("y\n", 10), ("n\n", 0), ("\n", 0)])
def test_terminal_is_asked_before_anything_is_spent(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch, answer: str, paid: int
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        assert teacher.paid == 0
        return answer == "y\n"

    monkeypatch.setattr("distill_worker.cli.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.agreed_purchase.is_terminal", lambda: True)
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
    assert f"10 samples to buy have their outputs in the cache from teacher {first}/teacher/t" in planned.stdout
    assert "TEACHER_URL" in planned.stdout
    ended = command("fetch", config)
    assert ended.status != 0
    assert "maybe for outputs that are in the cache. Nothing was spent" in " ".join(ended.stderr.split())
    assert teacher.paid == 10
    monkeypatch.setenv("TEACHER_URL", first)
    assert facts_of(command("fetch", config, "--json"))["bought"] == 0
    monkeypatch.setenv("TEACHER_URL", first.replace("127.0.0.1", "localhost"))
    assert facts_of(command("fetch", config, "--yes", "--json"))["bought"] == 10
