"""Who is known again: the same teacher, asked by the same account, under the same configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_worker.buying.known_teachers import load_description, save_description
from distill_worker.cache import Cache
from distill_worker.config.teacher_address import LabelledScoresAddress, OpenInferenceAddress, TeacherAddress
from tests.distill_worker.fake_teacher import describe

SETTINGS: Mapping[str, Any] = {
    "protocol": "labelled-scores",
    "url": "http://teacher.test/classify",
    "model": "m",
    "labels": {"a": 0, "b": 1},
    "top_k": 2,
    "model_version": "1",
    "num_classes": 3,
}
DESCRIPTION = replace(describe(outputs={"features.a": (2, 2)}), class_names=("ant", "bee", "cow"))


@pytest.fixture(autouse=True)
def _url_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_URL", raising=False)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """Without anybody known."""
    with Cache(tmp_path / "cache.sqlite") as cache:
        yield cache


def _address(**changed: object) -> TeacherAddress:
    return LabelledScoresAddress.model_validate({**SETTINGS, **changed})


def test_the_same_is_known_again(cache: Cache) -> None:
    """However fast it is asked now, and in whatever order its labels are told."""
    save_description(cache, _address(), "alice", DESCRIPTION)
    for same in ({}, {"labels": {"b": 1, "a": 0}}, {"concurrency": 3}, {"url": SETTINGS["url"] + "/"}):
        known = load_description(cache, _address(**same), "alice")
        assert known is not None
        assert known[0] == DESCRIPTION


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://teacher.test/other"},
        {"model": "n"},
        {"model_version": "2"},
        {"model_version": None},
        {"labels": {"a": 1, "b": 0}},
        {"top_k": 1},
        {"score_digits": 2},
        {"num_classes": 9},
        {"repeats_are_free": True},
    ],
    ids=str,
)
def test_who_is_configured_otherwise_is_not_known(cache: Cache, changed: Mapping[str, object]) -> None:
    """What was said may follow from the configuration."""
    save_description(cache, _address(), "alice", DESCRIPTION)
    assert load_description(cache, _address(**changed), "alice") is None


@pytest.mark.parametrize(
    "changed",
    [{"protocol": "open-inference"}, {"input_name": "x"}, {"output_name": "y"}, {"num_classes": 3}],
    ids=str,
)
def test_open_inference_teacher_under_other_settings_is_not_recalled(
    cache: Cache, changed: Mapping[str, object]
) -> None:
    """Nor is one of another protocol."""
    shared = {"url": SETTINGS["url"], "model": "m"}
    before = _address() if "protocol" in changed else OpenInferenceAddress.model_validate(shared)
    save_description(cache, before, "alice", DESCRIPTION)
    assert load_description(cache, OpenInferenceAddress.model_validate({**shared, **changed}), "alice") is None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (OpenInferenceAddress(), "open-inference http://127.0.0.1:8000 teacher alice 7ce5598b2aa13129"),
        (
            OpenInferenceAddress(
                url="https://kserve.test/",
                model="m",
                output_name="y",
                input_name="x",
                model_version="3",
                binary=False,
                num_classes=10,
                repeats_are_free=True,
                price_per_call=1,
            ),
            "open-inference https://kserve.test m alice 41e203d58e6ac222",
        ),
        (
            LabelledScoresAddress(
                url="http://teacher.test/classify",
                model="pets",
                labels={"cat": 0, "dog": 1},
                top_k=2,
                score_digits=3,
                concurrency=2,
            ),
            "labelled-scores http://teacher.test/classify pets alice ebd57397fc2c669a",
        ),
    ],
    ids=["defaults", "open-inference", "labelled-scores"],
)
def test_stored_names_are_those_of_caches_written_before(tmp_path: Path, address: TeacherAddress, name: str) -> None:
    """As they were when all protocols shared one section: a cache of that time still has its teachers."""
    with Names(tmp_path / "cache.sqlite") as cache:
        save_description(cache, address, "alice", DESCRIPTION)
    assert cache.met_as == name


def test_another_account_may_be_told_otherwise(cache: Cache) -> None:
    save_description(cache, _address(), "alice", DESCRIPTION)
    assert load_description(cache, _address(), "bob") is None


class Names(Cache):
    """Which name was given to it."""

    met_as: str

    def save_teacher(self, address: str, description: Mapping[str, Any]) -> None:
        """Note it."""
        self.met_as = address
        super().save_teacher(address, description)


@pytest.mark.parametrize("long", ["url", "model", "both"])
def test_long_names_fit_and_differ(tmp_path: Path, long: str) -> None:
    """The address column holds 1000 characters."""
    url = "http://teacher.test/" + "x" * (5000 if long != "model" else 1)
    model = "m" * (5000 if long != "url" else 1)
    with Names(tmp_path / "cache.sqlite") as cache:
        save_description(cache, _address(url=url, model=model), "p" * 16, DESCRIPTION)
        assert len(cache.met_as) < 1000
        assert load_description(cache, _address(url=url, model=model), "p" * 16) is not None
        assert load_description(cache, _address(url=url + "y", model=model), "p" * 16) is None
        assert load_description(cache, _address(url=url, model=model + "n"), "p" * 16) is None


def test_no_key_in_the_url_is_kept(tmp_path: Path) -> None:
    with Names(tmp_path / "cache.sqlite") as cache:
        save_description(cache, _address(url="http://user:hunter2@teacher.test/?api-key=SECRET"), "alice", DESCRIPTION)
    name = cache.met_as
    assert name.startswith("labelled-scores http://teacher.test m alice ")
    assert "hunter2" not in name
    assert "SECRET" not in name
