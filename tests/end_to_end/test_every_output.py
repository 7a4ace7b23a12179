"""Every kind of teacher, every kind of output: the command trains, or refuses before anything is bought.

What happens is the table in docs/outputs.md. `make docs-outputs` writes it again.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.cli.command import main
from shared.output_kinds import OutputKind
from teacher_service.policy.output_policy import OutputPolicy
from tests.end_to_end.conftest import StartService
from tests.foreign import labelled_scores_server, oip_server
from tests.generated_page import check_part

PAGE = Path(__file__).parents[2] / "docs" / "outputs.md"
BEGINNING, END = "<!-- table: written by make docs-outputs -->\n", "<!-- end of table -->"
KINDS = ("logits", "log_probabilities", "probabilities", "probabilities:3", "top_k:3", "top_k:3:2", "label")
METHODS = ("kd", "ckd", "rkd")
N, CLASSES = 8, 10
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Shop(NamedTuple):
    """A teacher that sells one kind of output, if it can."""

    teacher: dict[str, Any]
    """The [teacher] section that asks for it."""
    api_key: str
    charged: Callable[[], int]
    """Samples, so far."""


Open = Callable[[str], Iterator[Shop]]


def _logits(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    weights = np.random.default_rng(0).normal(size=(64, CLASSES)) / 30
    return np.asarray(images.reshape(len(images), 64) @ weights, np.float64)


def _probabilities(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    scores = np.exp(_logits(image[None])[0])
    return np.asarray(scores / scores.sum(), np.float64)


@pytest.fixture
def teachers(start_service: StartService) -> dict[str, Open]:
    """By the name in the table; each sells what a configuration says it should, as far as its kind allows."""
    service = start_service()

    def ours(kind: str) -> Iterator[Shop]:
        key = service.new_key(kind, 3 * N, outputs=OutputPolicy.parse(kind)).token
        yield Shop({"url": service.url}, key, lambda: int(service.quota(key)["used"]))

    def open_inference(kind: str) -> Iterator[Shop]:
        name = OutputKind.parse(kind).name
        tensors = ("top_k", "top_k_indices") if name == "top_k" else (name,)
        model = oip_server.ForeignModel(_logits, (1, 8, 8), CLASSES, tensors=tensors, top_k=3)
        with oip_server.served(model) as url:
            asked = {"url": url, "model": model.name, "num_classes": CLASSES}
            yield Shop(asked, "", lambda: sum(model.charged))

    def scores(kind: str) -> Iterator[Shop]:
        digits = OutputKind.parse(kind).digits
        model = labelled_scores_server.ForeignScores(_probabilities, DIGITS, told=3, digits=digits)
        with labelled_scores_server.served(model) as url:
            asked = {
                "protocol": "labelled-scores",
                "url": url,
                "labels": {label: index for index, label in enumerate(DIGITS)},
                "top_k": 3,
            }
            told = {} if digits is None else {"score_digits": digits}
            yield Shop({**asked, **told}, model.key, lambda: model.charged)

    return {"our service": ours, "another Open Inference server": open_inference, "labelled scores": scores}


def test_every_teacher_and_output_trains_or_is_refused_beforehand(
    teachers: dict[str, Open], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the page says which. In money: n samples where it trains, at most once for all methods; else nothing."""
    rows, reasons = list[str](), list[str]()
    for teacher, opened in teachers.items():
        for kind in KINDS:
            cells = []
            with contextmanager(opened)(kind) as shop:
                paid = 0
                for method in METHODS:
                    folder = tmp_path / f"{teacher}-{kind}-{method}".replace(":", "-")
                    result, refusal = _run(folder, shop, kind, method, monkeypatch, capsys)
                    if result is not None:
                        paid = N
                        assert (result["teacher_output"], result["calls"], result["steps"]) == (kind, N, 2)
                    assert shop.charged() == paid
                    cells.append("trains" if result else _noted(refusal, reasons))
            rows.append(f"| {teacher} | `{kind}` | {' | '.join(cells)} |")
    head = f"| teacher | output | {' | '.join(METHODS)} |\n|---|---|{'---|' * len(METHODS)}\n"
    notes = "".join(f"\n{number}. {reason}" for number, reason in enumerate(reasons, 1))
    table = head + "\n".join(rows) + "\n\nRejected, with nothing charged:\n" + notes + "\n\n"
    check_part(PAGE, BEGINNING, END, table, remedy="make docs-outputs")


def _run(
    folder: Path,
    shop: Shop,
    kind: str,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[dict[str, Any] | None, str]:
    """What `distill-worker run` gives: a result, or one line that says why not."""
    folder.mkdir()
    cache = (
        folder.parent / f"{shop.teacher['url'].rsplit(':', 1)[-1].replace('/', '-')}-{kind.replace(':', '-')}.sqlite"
    )
    teacher = {**shop.teacher, "output": kind, "give_up_after_seconds": 5}
    config = folder / "run.toml"
    config.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
method.name = "{method}"
budget.n = {N}
training = {{steps = 2, batch_size = {N}, device = "cpu"}}
output = {{directory = "{folder}/run", cache = "{cache}", report = false}}
[teacher]
{_toml(teacher)}"""
    )
    monkeypatch.setenv("TEACHER_API_KEY", shop.api_key)
    monkeypatch.setattr(sys, "argv", ["distill-worker", "run", str(config), "--json"])
    with pytest.raises(SystemExit) as exited:
        main()
    said = capsys.readouterr()
    if exited.value.code:
        (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
        hidden = {f"{config}: ": "", f"expected '{kind}'": "expected OUTPUT", f"got {kind}:": "got OUTPUT:"}
        for told, shown in hidden.items():
            line = line.replace(told, shown)
        return None, f"Exit status {exited.value.code}. {line.removeprefix('error: ')}"
    result: dict[str, Any] = json.loads(said.out)
    return result, ""


def _toml(section: dict[str, Any]) -> str:
    """Strings and numbers, and tables of numbers."""
    lines = []
    for name, value in section.items():
        inline = ", ".join(f"{key} = {number}" for key, number in value.items()) if isinstance(value, dict) else ""
        lines.append(f"{name} = " + (f"{{{inline}}}" if inline else json.dumps(value)))
    return "\n".join(lines) + "\n"


def _noted(reason: str, reasons: list[str]) -> str:
    if reason not in reasons:
        reasons.append(reason)
    return f"rejected ({reasons.index(reason) + 1})"
