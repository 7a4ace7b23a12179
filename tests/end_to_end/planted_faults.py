"""Faults that a run can have, planted with real files and real servers, for `doctor` to name."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
import torch

from distill_worker.cli.doctor.cache import FILE_REMEDY, VERSION_REMEDY
from distill_worker.cli.doctor.configuration import REMEDY
from distill_worker.cli.doctor.data_and_network import DATA_REMEDY, NETWORK_REMEDY
from distill_worker.cli.doctor.teacher import ADDRESS_REMEDY, CLOCK_REMEDY
from distill_worker.cli.doctor.teacher import REMEDIES as OF_OBSTACLE
from distill_worker.runs.preflight.remedies import REMEDIES
from distill_worker.teachers.obstacles import Obstacle
from tests.end_to_end.fault_bench import Bench, Planted, settings, variable
from tests.end_to_end.faulty_files import (
    arrays,
    damaged_cache,
    full_disk,
    later_cache,
    no_leases,
    read_only,
    unreadable_image,
)
from tests.end_to_end.faulty_servers import (
    at_url_of,
    closed_port,
    other_model,
    redirecting,
    secure_shell,
    self_signed,
    silent,
    starting,
    website,
    without_tls,
    wrong_clock,
)


def _absent_cuda(_: Bench) -> Mapping[str, Any]:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    return {"training.device": "cuda"}


def _wrong_proxy(bench: Bench) -> Mapping[str, Any]:
    bench.patch.setenv("TEACHER_URL", "http://teacher.invalid")
    bench.patch.setenv("HTTP_PROXY", "http://proxy:port")
    return {}


def _revoked(bench: Bench) -> Mapping[str, Any]:
    key = bench.service.new_key(f"{bench.folder.name}-revoked", 100)
    with bench.service.keys() as keys:
        keys.revoke(key.id)
    bench.patch.setenv("TEACHER_API_KEY", key.token)
    return {}


def _without_key(bench: Bench) -> Mapping[str, Any]:
    bench.patch.delenv("TEACHER_API_KEY")
    return {}


def _absent_key_file(bench: Bench) -> Mapping[str, Any]:
    bench.patch.delenv("TEACHER_API_KEY")
    bench.patch.setenv("TEACHER_API_KEY_FILE", "absent.key")
    return {}


def _spent(bench: Bench) -> Mapping[str, Any]:
    bench.patch.setenv("TEACHER_API_KEY", bench.service.new_key(f"{bench.folder.name}-spent", 3).token)
    return {}


PLANTED: Final = (
    Planted(
        "a mistyped key in the file",
        "configuration",
        "training.step: unknown key; did you mean 'steps'?",
        REMEDY.format(source="run.toml"),
        settings(training__step=5),
    ),
    Planted(
        "a mistyped method",
        "configuration",
        "did you mean 'ckd'?",
        REMEDY.format(source="run.toml"),
        settings(method__name="ckdd"),
    ),
    Planted(
        "a folder of data that is not there",
        "data",
        "expected a folder, got no folder",
        DATA_REMEDY,
        settings(data__name="image-folder", data__path="absent"),
    ),
    Planted(
        "an image file that cannot be read", "data", "broken.png: expected a picture", DATA_REMEDY, unreadable_image
    ),
    Planted(
        "more samples than the data have",
        "samples",
        "budget.n: expected at most 1297",
        REMEDIES["samples"],
        settings(budget__n=5000),
    ),
    Planted(
        "a mistyped network",
        "network",
        "did you mean 'resnet8'?",
        NETWORK_REMEDY,
        settings(student__network="resnt8"),
    ),
    Planted(
        "a network for larger images",
        "network",
        "Wrong image height",
        NETWORK_REMEDY,
        settings(student__network="torchvision:vit_b_32"),
    ),
    Planted("a GPU that is not there", "device", "expected a CUDA device, got none", REMEDIES["device"], _absent_cuda),
    Planted(
        "a precision that the device lacks",
        "precision",
        "expected auto, float32 or bfloat16 on a CPU",
        REMEDIES["precision"],
        settings(training__precision="float16"),
    ),
    Planted(
        "a run directory that cannot be written",
        "directory",
        "cannot write to it",
        REMEDIES["directory"],
        read_only,
    ),
    Planted("a full disk", "disk-space", "MB of free disk space for the student", REMEDIES["disk-space"], full_disk),
    Planted("a damaged cache", "cache-file", "the cache of bought outputs cannot be used", FILE_REMEDY, damaged_cache),
    Planted("a cache of a later version", "cache-file", "got version 9999", VERSION_REMEDY, later_cache),
    Planted("a cache that cannot be written", "cache", "cannot be used", REMEDIES["cache"], no_leases),
    Planted(
        "TEACHER_URL without http://",
        "address",
        "TEACHER_URL: expected a URL such as",
        ADDRESS_REMEDY,
        variable("TEACHER_URL", "127.0.0.1:8000"),
    ),
    Planted(
        "a proxy that is no URL",
        "address",
        "expected a proxy as http://HOST:PORT",
        ADDRESS_REMEDY,
        _wrong_proxy,
    ),
    Planted(
        "a server name that does not exist",
        "reachable",
        "the teacher cannot be reached",
        OF_OBSTACLE[Obstacle.NAME],
        variable("TEACHER_URL", "http://teacher.invalid"),
    ),
    Planted(
        "a port where nothing listens",
        "reachable",
        "Connection refused",
        OF_OBSTACLE[Obstacle.CONNECTION_REJECTED],
        at_url_of(closed_port),
    ),
    Planted(
        "a server that never answers",
        "reachable",
        "timed out",
        OF_OBSTACLE[Obstacle.TIMEOUT],
        at_url_of(silent, teacher__timeout_seconds=0.3),
    ),
    Planted(
        "the port of a web site",
        "reachable",
        "404 HTML page 'Not here'",
        OF_OBSTACLE[Obstacle.PROTOCOL],
        at_url_of(website),
    ),
    Planted(
        "the port of a server without HTTP",
        "reachable",
        "the teacher cannot be reached",
        OF_OBSTACLE[Obstacle.PROTOCOL],
        at_url_of(secure_shell),
    ),
    Planted(
        "a certificate that no authority signed",
        "reachable",
        "expected a certificate that is trusted",
        OF_OBSTACLE[Obstacle.CERTIFICATE],
        at_url_of(self_signed),
    ),
    Planted(
        "https:// for a server without TLS",
        "reachable",
        "expected TLS, got another protocol",
        OF_OBSTACLE[Obstacle.NO_TLS],
        at_url_of(without_tls),
    ),
    Planted(
        "a server that redirects",
        "reachable",
        "the server redirects to",
        OF_OBSTACLE[Obstacle.REDIRECT],
        at_url_of(redirecting),
    ),
    Planted("a server that is starting", "reachable", "503", OF_OBSTACLE[Obstacle.BUSY], at_url_of(starting)),
    Planted(
        "a mistyped model",
        "reachable",
        "check teacher.model",
        OF_OBSTACLE[Obstacle.MODEL],
        at_url_of(other_model, teacher__model="techer"),
    ),
    Planted(
        "the closed port of a vendor, where each request is charged",
        "reachable",
        "Connection refused",
        OF_OBSTACLE[Obstacle.CONNECTION_REJECTED],
        at_url_of(closed_port, teacher__protocol="labelled-scores", teacher__labels={"one": 1, "nine": 9}),
    ),
    Planted("no API key", "api-key", "401", OF_OBSTACLE[Obstacle.API_KEY], _without_key),
    Planted("a revoked API key", "api-key", "401", OF_OBSTACLE[Obstacle.API_KEY], _revoked),
    Planted(
        "a file of the API key that is not there",
        "api-key",
        "TEACHER_API_KEY_FILE: cannot read",
        OF_OBSTACLE[Obstacle.API_KEY],
        _absent_key_file,
    ),
    Planted(
        "a quota that does not suffice",
        "quota",
        "expected a quota for 10 calls",
        REMEDIES["quota"],
        _spent,
    ),
    Planted(
        "images of another size",
        "image-shape",
        "expected images of shape [1, 8, 8]",
        REMEDIES["image-shape"],
        arrays(9, 9),
    ),
    Planted(
        "colour images for a teacher of grey ones",
        "image-shape",
        "got [3, 8, 8]",
        REMEDIES["image-shape"],
        arrays(8, 8, 3),
    ),
    Planted(
        "data with other classes",
        "classes",
        "expected 10 classes",
        REMEDIES["classes"],
        arrays(8, 8, classes=3),
        also=("class-names",),
    ),
    Planted(
        "classes of other names",
        "class-names",
        "expected the classes of the teacher",
        REMEDIES["class-names"],
        settings(teacher__class_names=["nought", *"123456789"]),
    ),
    Planted(
        "an output that the teacher does not sell",
        "outputs",
        "teacher.output: expected 'top_k:99'",
        REMEDIES["outputs"],
        settings(teacher__output="top_k:99"),
    ),
    Planted(
        "a clock that is wrong by an hour",
        "clock",
        "ahead of this machine's",
        CLOCK_REMEDY,
        at_url_of(wrong_clock),
        grade="warning",
    ),
)
"""All of them, in the order of the checks."""
