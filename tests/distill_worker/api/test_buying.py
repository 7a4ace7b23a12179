"""Buying from Python: what it costs, what it returns, and what it never does twice."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distill_worker.api.bought import Bought
from distill_worker.api.buying import buy
from distill_worker.cli.console import notes
from distill_worker.errors import ConfigError, PlanRefused, TeacherUnavailable
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.http_teacher import served

Pixels = NDArray[np.uint8]
ONE_BY_ONE: dict[str, Any] = {"request_size": 4, "concurrency": 1, "give_up_after_seconds": 0}


def _expected(images: Pixels) -> torch.Tensor:
    """What the fake teacher says: the first ten pixels are its logits."""
    return torch.from_numpy(images.reshape(len(images), -1)[:, :10].astype(np.float32)).log_softmax(dim=1)


def _check(bought: Bought, images: Pixels, n: int) -> None:
    held = bought.held
    assert (len(bought), len(bought.indices), held.shape) == (n, n, (60,))
    assert torch.equal(bought.log_probabilities[held], _expected(images)[held])
    assert bought.log_probabilities[~held].isnan().all()
    assert held[bought.indices].all()
    assert torch.equal(bought.images, torch.from_numpy(images))


def test_outputs_are_aligned_with_the_images(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    """And the Dataset has the image, as ToTensor makes it, its row, and its position."""
    bought = buy(images, url=url, n=20, cache="bought.sqlite")
    _check(bought, images, 20)
    assert (bought.calls, bought.remaining, teacher.paid) == (20, 20, 20)
    assert (bought.class_names, bought.output, bought.teacher_id, bought.names) == (
        tuple("0123456789"), "logits", "t", None,
    )  # fmt: skip
    image, row, position = bought[3]
    assert position == int(bought.indices[3])
    assert torch.equal((image * 255).round().to(torch.uint8), torch.from_numpy(images[position]))
    assert torch.equal(row, bought.log_probabilities[position])
    assert repr(bought) == "Bought(20 of 20 samples among 60 images, logits of teacher t, 20 bought now)"


def test_same_call_again_buys_nothing(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    """It sends no request either; a larger n buys the difference, a smaller one nothing."""
    first = buy(images, url=url, n=20, cache="bought.sqlite")
    teacher.paths_read.clear()
    again = buy(torch.from_numpy(images), url=url, n=20, cache="bought.sqlite")
    assert (teacher.paid, teacher.paths_read, again.calls, again.remaining) == (20, [], 0, None)
    assert torch.equal(first.indices, again.indices)
    larger = buy(images, url=url, n=30, cache="bought.sqlite")
    assert (teacher.paid, larger.calls, larger.remaining) == (30, 10, 10)
    smaller = buy(images, url=url, n=10, cache="bought.sqlite")
    assert (teacher.paid, smaller.calls) == (30, 0)
    assert torch.equal(smaller.indices, first.indices[:10]), "the order of purchase"


def test_images_with_the_same_pixels_share_one_call(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    images = np.concatenate([images[:30], images[:30]])
    bought = buy(images, url=url, n=30, cache="bought.sqlite", strategy="random")
    assert (teacher.paid, len(bought), int(bought.held.sum())) == (30, 30, 60)
    assert sorted(bought.indices.tolist()) == list(range(30))
    _check(bought, images, 30)


def test_purchase_that_failed_on_the_way_goes_on(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    """The request that may have been charged is repeated under its key, and charged once."""
    teacher.will(None, None, ("after", TeacherUnavailable("gone")))
    with pytest.raises(TeacherUnavailable, match="run the same command again to buy the rest"):
        buy(images, url=url, n=20, cache="bought.sqlite", teacher=ONE_BY_ONE)
    bought = buy(images, url=url, n=20, cache="bought.sqlite", teacher=ONE_BY_ONE)
    _check(bought, images, 20)
    assert (teacher.paid, len(teacher.charged)) == (20, 5)


class _Interrupting(FakeTeacher):
    """It interrupts this process, as Ctrl-C and a notebook do, while its second request is in flight."""

    def buy(self, *arguments: Any, **named: Any) -> Any:
        answer = super().buy(*arguments, **named)
        if len(self.sent) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return answer


def test_interrupt_keeps_what_is_paid(images: Pixels) -> None:
    teacher = _Interrupting(limit=40, description=describe(shape=(1, 8, 8), num_classes=10))
    with served(teacher) as url:
        with pytest.raises(KeyboardInterrupt):
            buy(images, url=url, n=20, cache="bought.sqlite", teacher=ONE_BY_ONE)
        assert teacher.paid == 8
        bought = buy(images, url=url, n=20, cache="bought.sqlite", teacher=ONE_BY_ONE)
    _check(bought, images, 20)
    assert (teacher.paid, bought.calls) == (20, 12)


def test_part_is_bought_with_max_calls(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    nothing = buy(images, url=url, n=20, cache="bought.sqlite", max_calls=0)
    assert (len(nothing), teacher.paid, int(nothing.held.sum())) == (0, 0, 0)
    part = buy(images, url=url, n=20, cache="bought.sqlite", max_calls=8)
    _check(part, images, 8)
    assert (part.n, part.calls, teacher.paid) == (20, 8, 8)
    whole = buy(images, url=url, n=20, cache="bought.sqlite", max_calls=12)
    assert (whole.calls, teacher.paid) == (12, 20)
    assert torch.equal(part.indices, whole.indices[:8])


def test_calls_that_have_a_price_need_consent(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    """No question is put, whether or not there is a terminal."""
    with pytest.raises(PlanRefused, match=r"expected --yes, or --max-calls .* for 0.20 USD .*Nothing was spent"):
        buy(images, url=url, n=20, cache="bought.sqlite", price_per_call=0.01)
    assert teacher.paid == 0
    buy(images, url=url, n=20, cache="bought.sqlite", price_per_call=0.01, max_calls=5)
    buy(images, url=url, n=20, cache="bought.sqlite", teacher={"price_per_call": 0.01}, yes=True)
    assert teacher.paid == 20


def test_quota_that_is_too_small_spends_nothing(images: Pixels, teacher: FakeTeacher, url: str) -> None:
    with pytest.raises(PlanRefused, match="Nothing was spent"):
        buy(images, url=url, n=50, cache="bought.sqlite")
    assert teacher.paid == 0


def test_what_the_teacher_does_not_return_is_filled_in(images: Pixels) -> None:
    """By the rules of docs/outputs.md: of a label, 0.9 for its class, and the rest for the nine others."""
    teacher = FakeTeacher(description=describe(shape=(1, 8, 8), num_classes=10, tells=("label",)))
    with served(teacher) as url:
        bought = buy(images, url=url, n=20, cache="bought.sqlite", teacher={"num_classes": 10})
    assert bought.output == "label"
    rows = bought.log_probabilities[bought.indices]
    assert torch.equal(rows.argmax(dim=1), _expected(images)[bought.indices].argmax(dim=1))
    torch.testing.assert_close(rows.exp().sort(dim=1).values[0], torch.tensor([0.1 / 9] * 9 + [0.9]))


def test_api_key_is_that_of_the_call(
    images: Pixels, teacher: FakeTeacher, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes before the environment, and appears nowhere."""
    monkeypatch.setenv("TEACHER_API_KEY", "of-the-environment")
    buy(images, url=url, n=20, cache="bought.sqlite", api_key="of-the-call")
    said = capsys.readouterr().err
    assert "with the API key in api_key, which overrides TEACHER_API_KEY" in " ".join(said.split())
    assert "of-the-call" not in said
    with pytest.raises(ConfigError, match="api_key: expected printable ASCII"):
        buy(images, url=url, n=30, cache="bought.sqlite", api_key="a b")
    assert teacher.paid == 20


def test_quiet_call_shows_nothing(
    images: Pixels, teacher: FakeTeacher, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Later calls show their notes again."""
    buy(images, url=url, n=20, cache="bought.sqlite", quiet=True)
    captured = capsys.readouterr()
    assert (captured.err.strip(), captured.out, notes.quiet) == ("", "", False)
    buy(images, url=url, n=20, cache="bought.sqlite")
    assert "no request was sent" in capsys.readouterr().err
    assert teacher.paid == 20


def test_folder_is_read_as_the_command_line_reads_it(
    here: Path, images: Pixels, teacher: FakeTeacher, url: str
) -> None:
    """The files have their names."""
    (here / "photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[0]).save(here / "photos" / f"{number:02}.png")
    bought = buy("photos", url=url, n=20, cache="bought.sqlite")
    _check(bought, images, 20)
    assert bought.names is not None
    assert [Path(name).name for name in bought.names] == [f"{number:02}.png" for number in range(60)]
    assert teacher.paid == 20


def test_rows_are_in_the_order_of_the_classes_of_the_data(
    here: Path, images: Pixels, teacher: FakeTeacher, url: str
) -> None:
    """Where data at a path name their classes in another order than the teacher."""
    names = tuple("abcdefghij")
    labels = 9 - _expected(images).argmax(dim=1).numpy()
    labels[:10] = np.arange(10)
    np.savez(
        here / "mine.npz",
        train_images=images[:50],
        train_labels=labels[:50],
        test_images=images[50:],
        test_labels=labels[50:],
        class_names=np.array(names),
    )
    settings = {"class_names": names[::-1]}
    bought = buy("mine.npz", url=url, n=30, cache="bought.sqlite", strategy="random", teacher=settings)
    assert (bought.class_names, len(bought.images), teacher.paid) == (names, 50, 30)
    rows = bought.log_probabilities[bought.indices]
    torch.testing.assert_close(rows, _expected(images)[bought.indices].flip(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "badge"}, r"strategy: expected one that needs no student, got 'badge'; distill\("),
        ({"strategy": "k-centre"}, "did you mean 'k-center'"),
        ({"n": 1}, "budget.n: expected at least 2, got 1"),
        ({"n": 61}, "61"),
        ({"teacher": {"prce": 1}}, "teacher.prce: unknown key"),
        ({"teacher": {"url": "http://elsewhere"}}, "url: expected it once"),
        ({"url": None}, "url: expected the URL of the teacher, or TEACHER_URL"),
        ({"cache": "mysql://host/name"}, "cache: expected a file or postgresql"),
    ],
)
def test_wrong_argument_is_named_before_anything_is_spent(
    images: Pixels, teacher: FakeTeacher, url: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        buy(images, **{"url": url, "n": 20, "cache": "bought.sqlite", **arguments})
    assert teacher.paid == 0
