"""What can go wrong before a service answers, and how it ends. That it answers is held by the end-to-end tests."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from distill_worker.errors import WorkerError
from distill_worker.experiments.own_teacher.local_service import create_key, enlarge_quota, served
from tests.small_teacher import small_teacher

_OWNER = """
import sys, time
from pathlib import Path
from distill_worker.experiments.own_teacher.local_service import served
with served(Path(sys.argv[1]), Path(sys.argv[2])) as url:
    print(url, flush=True)
    time.sleep(3600)
"""


def test_service_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    absent = tmp_path / "absent.safetensors"
    with pytest.raises(WorkerError, match=r"did not start:\n(.*\n)*.*absent\.safetensors"), served(absent, tmp_path):
        pytest.fail("there is nothing to serve")
    assert "absent.safetensors" in (tmp_path / "service.log").read_text()


def test_key_is_made_once(tmp_path: Path) -> None:
    """A second call leaves the key that the first one made."""
    key_file = tmp_path / "key"
    create_key(tmp_path / "service", name="demo", quota=5, key_file=key_file)
    made = key_file.read_bytes()
    create_key(tmp_path / "service", name="demo", quota=5, key_file=key_file)
    assert made
    assert key_file.read_bytes() == made


def test_key_that_cannot_be_made_says_why(below_a_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"keys create: expected a new API key, got: .+"):
        create_key(below_a_file, name="demo", quota=5, key_file=tmp_path / "key")


def test_quota_of_a_key_is_enlarged(tmp_path: Path) -> None:
    service = tmp_path / "service"
    for name in ("demo", "other"):
        create_key(service, name=name, quota=5, key_file=tmp_path / name)
    enlarge_quota(service, name="demo", samples=3)
    enlarge_quota(service, name="demo", samples=0)
    listed = subprocess.run(
        [sys.executable, "-m", "teacher_service", "keys", "list", "--json", "--data-dir", str(service)],
        capture_output=True,
        check=True,
    )
    assert {key["name"]: key["limit"] for key in json.loads(listed.stdout)["keys"]} == {"demo": 8, "other": 5}


def test_service_ends_with_a_killed_process(tmp_path: Path) -> None:
    """Its socket is closed, so that no service is left that nobody knows of."""
    weights = small_teacher(tmp_path / "teacher.safetensors")
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(weights), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout
        url = owner.stdout.readline().strip()
        assert httpx.get(f"{url}/v2/health/ready", timeout=60).json()["ready"]
        owner.kill()
    while True:
        try:
            httpx.get(f"{url}/v2/health/ready", timeout=60)
        except httpx.TransportError:
            break
