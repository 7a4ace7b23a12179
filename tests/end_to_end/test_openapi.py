"""The OpenAPI document against a running service, by Schemathesis: what it promises is what comes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService
from tests.endurance import HANG_SECONDS, record, rounds

ADMIN_KEY = "an-admin-key-of-a-test"
MEANING = "positive_data_acceptance"
"""The one check that cannot hold: what pixels, days and cursors mean together no schema can say."""


@pytest.fixture
def service(start_service: StartService) -> RunningService:
    """A service with an admin key."""
    return start_service(TEACHER_ADMIN_KEY=ADMIN_KEY)


def test_service_keeps_what_its_document_promises(service: RunningService, tmp_path: Path) -> None:
    """Neither a 5xx nor a status, header, media type or body that is not documented, with a key and as operator."""
    key = service.create_key("reader", quota=10**9)
    asked = _try(service, key, tmp_path, "--exclude-path-regex", "^/v1/admin")
    quota = service.quota(key)
    assert quota["reserved"] == 0
    assert quota["used"] > 0, "some were answered"
    administered = _try(service, ADMIN_KEY, tmp_path, "--include-path-regex", "^/v1/admin")
    assert "Traceback" not in service.log.read_text()
    record("openapi", "requests_tried", [asked + administered], unit="requests", better="higher", target=1000)


def test_example_of_the_document_can_be_pasted(service: RunningService, tmp_path: Path) -> None:
    document = httpx.get(f"{service.url}/openapi.json").json()
    description = document["paths"]["/v2/models/{model}/infer"]["post"]["description"]
    (script,) = re.findall(r"```sh\n(.+?)```", description, re.DOTALL)
    key = service.create_key("paster", quota=1)
    done = subprocess.run(
        ["/bin/sh", "-c", script.replace("http://127.0.0.1:8000", service.url)],
        cwd=tmp_path,
        env={**os.environ, "TEACHER_API_KEY": key},
        capture_output=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["outputs"][0]["data"]) == 10
    assert service.quota(key)["used"] == 1


def _try(service: RunningService, key: str, folder: Path, *arguments: str) -> int:
    """How many requests were made; fails when one of them showed that the document is untrue."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--exclude-checks", MEANING),
            *(
                "--generation-deterministic",
                "--max-examples",
                str(rounds(3, 20)),
                "--continue-on-failure",
                "--no-color",
            ),
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (generated,) = re.findall(r"(\d+) generated", done.stdout)
    return int(generated)
