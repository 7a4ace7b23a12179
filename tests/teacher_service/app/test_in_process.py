"""`teacher_service.serve` is the real service inside a program: an address, a ledger on disk, a quota and a key."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import structlog
import torch
from torch import nn

import teacher_service
from shared import oip
from shared.weights import weights_bytes
from teacher_service import Preprocessing, RunningService, serve
from tests.endurance import HANG_SECONDS
from tests.teacher_service.made_elsewhere import MEAN, NAMES, SIZE, STD, card, expected, pixels, small

_VALUES: Final = Preprocessing(MEAN, STD, SIZE)


@pytest.fixture(autouse=True)
def _logs_end_with_the_test() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _ask(service: RunningService, images: int = 1) -> httpx.Response:
    body = oip.encode_request({"images": pixels(images)}, outputs=["logits"])
    headers = {**body.headers, "Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(trust_env=False, timeout=HANG_SECONDS) as client:
        return client.post(f"{service.url}/v2/models/teacher/infer", content=body.content, headers=headers)


def _logits(answer: httpx.Response) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert answer.status_code == 200, answer.text
    _, tensors = oip.decode_response(answer.content, answer.headers.get(oip.HEADER_LENGTH))
    return tensors["logits"]


def test_module_answers_and_its_quota_is_counted() -> None:
    with serve(small(), class_names=NAMES, preprocessing=_VALUES, quota=5) as teacher:
        np.testing.assert_allclose(_logits(_ask(teacher, 3)), expected(small(), pixels(3)), rtol=1e-4, atol=1e-5)
        assert (teacher.quota().limit, teacher.quota().used, teacher.quota().remaining) == (5, 3, 2)
        assert "2 of 5 samples remain" in repr(teacher)
        assert teacher.api_key not in repr(teacher)
        assert _ask(teacher, 3).status_code == 429
        metadata = httpx.get(f"{teacher.url}/v2/models/teacher", trust_env=False).json()
        assert metadata["parameters"]["class_names"] == list(NAMES)
    assert (teacher.quota().used, "stopped" in repr(teacher)) == (3, True)
    with pytest.raises(httpx.ConnectError):
        _ask(teacher)
    teacher.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name in ("teacher-service", "ledger")] == []


def test_teacher_is_a_copy_in_evaluation_mode() -> None:
    """The caller's module is neither changed nor followed."""
    model = small().train()
    with serve(model, class_names=NAMES, preprocessing=_VALUES, quota=5) as teacher:
        assert model.training
        with torch.no_grad():
            model.classifier.bias.add_(100)
        np.testing.assert_allclose(_logits(_ask(teacher)), expected(small(), pixels(1)), rtol=1e-4, atol=1e-5)


def test_module_that_cannot_be_pickled_is_served() -> None:
    model = small()
    model.hook = lambda images: images  # type: ignore[assignment]
    with serve(model, preprocessing=_VALUES, quota=5) as teacher:
        assert _ask(teacher).status_code == 200


def test_ledger_in_a_folder_goes_on_with_the_same_key(tmp_path: Path) -> None:
    keys = set[str]()
    for round_number in (1, 2):
        with serve(small(), preprocessing=_VALUES, quota=5, data_dir=tmp_path / "mine") as teacher:
            _ask(teacher, 2)
            keys.add(teacher.api_key)
            assert teacher.quota().used == 2 * round_number
    assert len(keys) == 1
    assert (tmp_path / "mine" / "notebook.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match=r"quota: expected 5, which the key .* has, got 9; .*keys grant notebook"):
        serve(small(), preprocessing=_VALUES, quota=9, data_dir=tmp_path / "mine")
    (tmp_path / "mine" / "notebook.key").write_text("tk_abc_def")
    with pytest.raises(ValueError, match=r"data_dir: expected in .* the key of this ledger"):
        serve(small(), preprocessing=_VALUES, quota=5, data_dir=tmp_path / "mine")


def test_ledger_is_that_of_any_service(tmp_path: Path) -> None:
    """The command line reads it, and every query is in its log."""
    with serve(small(), preprocessing=_VALUES, quota=5, data_dir=tmp_path) as teacher:
        _ask(teacher, 2)
    command = [sys.executable, "-m", "teacher_service"]
    folder = ["--data-dir", str(tmp_path), "--json"]
    listed = subprocess.run([*command, "keys", "list", *folder], capture_output=True, text=True, check=True)
    (key,) = json.loads(listed.stdout)["keys"]
    assert (key["name"], key["limit"], key["used"]) == ("notebook", 5, 2)
    verified = subprocess.run([*command, "log", "verify", *folder], capture_output=True, text=True, check=True)
    assert json.loads(verified.stdout)["problems"] == []
    exported = subprocess.run(
        [*command, "log", "export", "--data-dir", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["samples"] for line in exported.stdout.splitlines()] == [2]


def test_new_folder_is_deleted_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serve(small(), preprocessing=_VALUES, quota=5):
        assert len(list(tmp_path.glob("*/ledger.sqlite"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_file_is_served_as_the_command_serves_it(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(weights_bytes(small(), card(network=f"{tmp_path / 'own.py'}:make")))
    (tmp_path / "own.py").write_text(
        "from tests.teacher_service.made_elsewhere import Small\n\n\ndef make(num_classes, in_channels):\n"
        "    return Small(num_classes, in_channels)\n"
    )
    with serve(str(path), quota=5, trust_code=True) as teacher:
        np.testing.assert_allclose(_logits(_ask(teacher)), expected(small(), pixels(1)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="model: expected no class_names and no preprocessing beside the file"):
        serve(path, class_names=NAMES, quota=5)


def test_two_services_run_beside_each_other() -> None:
    with (
        serve(small(), preprocessing=_VALUES, quota=5) as first,
        serve(small(4), preprocessing=_VALUES, quota=7) as second,
    ):
        assert (_logits(_ask(first)).shape, _logits(_ask(second)).shape) == ((1, 3), (1, 4))
        assert (first.quota().remaining, second.quota().remaining) == (4, 6)


def _version(model: nn.Module, **stated: Any) -> str:
    facts = {"class_names": NAMES, "preprocessing": _VALUES, **stated}
    with serve(model, quota=1, **facts) as teacher:
        versions: list[str] = httpx.get(f"{teacher.url}/v2/models/teacher", trust_env=False).json()["versions"]
    return versions[0]


def test_version_is_that_of_model_and_description() -> None:
    """A notebook that is run again has the same teacher, whose outputs need not be bought again."""
    changed = small()
    with torch.no_grad():
        changed.classifier.bias.add_(1)
    scaled = small()
    scaled.dropout.p = 0.25
    versions = [
        _version(small()),
        _version(small().train()),
        _version(changed),
        _version(scaled),
        _version(small(), class_names=("dog", "cat", "ship")),
        _version(small(), preprocessing=Preprocessing(MEAN, MEAN, SIZE)),
    ]
    assert versions[0] == versions[1]
    assert len(set(versions)) == len(versions) - 1


class _Holding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.lock = small(), threading.Lock()


@pytest.mark.parametrize(
    ("make", "stated", "message"),
    [
        (small, {"preprocessing": None}, "mean and std: expected the values|image_size: expected"),
        (small, {"preprocessing": "imagnet"}, "did you mean 'imagenet'"),
        (small, {"preprocessing": {"mean": MEAN, "std": STD}}, "image_size: expected height and width"),
        (small, {"class_names": ["a", "b"]}, "got 3 from the model Small, 2 from class_names"),
        (small, {"class_names": "imagenet"}, "got 3 from the model Small, 1000 from class_names"),
        (small, {"image_size": 2}, r"the model Small: expected it to take images of shape \[3, 2, 2\]"),
        (small, {"quota": -1}, "quota"),
        (small, {"outputs": "everything"}, "outputs"),
        (small, {"data_dir": "/dev/null/x"}, "ledger"),
        (_Holding, {}, "model: expected a module that can be copied, got an error from _Holding"),
        (lambda: nn.Linear(4, 2), {}, "the model Linear: expected it to take images"),
    ],
)
def test_what_does_not_fit_is_an_error_and_nothing_runs(
    make: Callable[[], nn.Module], stated: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message) as error:
        serve(make(), **{"quota": 5, "preprocessing": _VALUES, **stated})
    assert type(error.value).__name__ in ("ValueError", "LedgerUnusable")
    assert [thread.name for thread in threading.enumerate() if thread.name in ("teacher-service", "ledger")] == []


def test_address_in_use_is_an_error() -> None:
    with serve(small(), preprocessing=_VALUES, quota=5) as teacher:
        port = int(teacher.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            serve(small(), preprocessing=_VALUES, quota=5, port=port)


def test_queries_write_no_lines_into_a_notebook(capfd: pytest.CaptureFixture[str]) -> None:
    with serve(small(), preprocessing=_VALUES, quota=5) as teacher:
        _ask(teacher)
    assert capfd.readouterr() == ("", "")


def test_package_is_imported_without_pytorch_until_a_name_is_used() -> None:
    code = (
        "import sys, teacher_service\n"
        "assert 'serve' in dir(teacher_service)\n"
        "assert not {'torch', 'fastapi'} & set(sys.modules)\n"
        "assert callable(teacher_service.serve)\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'sevre'"):
        _ = teacher_service.sevre


def test_program_ends_while_the_service_runs(tmp_path: Path) -> None:
    """A notebook that is shut down hangs on nothing, and the queries that it answered are counted."""
    code = (
        "import sys\n"
        "from tests.teacher_service.app.test_in_process import _VALUES, _ask\n"
        "from tests.teacher_service.made_elsewhere import small\n"
        "from teacher_service import serve\n"
        "teacher = serve(small(), preprocessing=_VALUES, quota=5, data_dir=sys.argv[1])\n"
        "assert _ask(teacher, 2).status_code == 200\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with serve(small(), preprocessing=_VALUES, quota=5, data_dir=tmp_path) as teacher:
        assert teacher.quota().used == 2
