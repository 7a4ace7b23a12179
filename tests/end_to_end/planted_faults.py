"""Faults that a run can have, planted with real files and real servers, for `doctor` to name."""

import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.cache import Cache
from distill_worker.cli.doctor.cache import FILE_REMEDY, VERSION_REMEDY
from distill_worker.cli.doctor.configuration import REMEDY
from distill_worker.cli.doctor.data_and_network import DATA_REMEDY, NETWORK_REMEDY
from distill_worker.cli.doctor.teacher import ADDRESS_REMEDY, CLOCK_REMEDY
from distill_worker.cli.doctor.teacher import REMEDIES as OF_OBSTACLE
from distill_worker.runs.preflight.remedies import REMEDIES
from distill_worker.teachers.obstacles import Obstacle
from tests.end_to_end.processes import RunningService, free_port
from tests.foreign.oip_server import ForeignModel, served
from tests.foreign.serving import Handler, running

CERTIFICATE: Final = Path(__file__).parents[1] / "distill_worker" / "teachers" / "loopback.pem"
HOUR_SECONDS: Final = 3600


@dataclass
class Bench:
    """What a fault is planted with."""

    folder: Path
    patch: pytest.MonkeyPatch
    service: RunningService
    stack: ExitStack
    """Ends the servers."""

    def key(self, quota: int = 100) -> str:
        """A new key, in the environment."""
        token = self.service.new_key(self.folder.name, quota).token
        self.patch.setenv("TEACHER_API_KEY", token)
        return token


Plant = Callable[[Bench], Mapping[str, Any]]
"""Plants the fault; the settings of the run that lead to it."""


@dataclass(frozen=True)
class Planted:
    """One fault, and how doctor names it."""

    name: str
    """For the table in the documentation."""
    check: str
    says: str
    """A part of the line."""
    remedy: str
    """What to do."""
    plant: Plant
    grade: str = "fault"
    also: tuple[str, ...] = ()
    """Other checks that name it, too."""


def _settings(**settings: Any) -> Plant:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return lambda _: named


def _absent_cuda(_: Bench) -> Mapping[str, Any]:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    return {"training.device": "cuda"}


def unlabelled(folder: Path, *, samples: int) -> None:
    """Write grey images of 8 x 8."""
    folder.mkdir(parents=True)
    for number in range(samples):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def _unreadable_image(bench: Bench) -> Mapping[str, Any]:
    for name in ("ant", "bee"):
        unlabelled(bench.folder / "photos" / name, samples=4)
    (bench.folder / "photos" / "bee" / "broken.png").write_bytes(b"no picture")
    return {"data.name": "image-folder", "data.path": str(bench.folder / "photos")}


def _arrays(*shape: int, classes: int = 10) -> Plant:
    def write(bench: Bench) -> Mapping[str, Any]:
        draw, arrays = np.random.default_rng(0), dict[str, Any]()
        for split, samples in (("train", 40), ("test", 20)):
            arrays[f"{split}_images"] = draw.integers(0, 256, (samples, *shape), dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(samples) % classes
        np.savez(bench.folder / "data.npz", **arrays)
        return {"data.name": "npz", "data.path": str(bench.folder / "data.npz")}

    return write


def _damaged_cache(bench: Bench) -> Mapping[str, Any]:
    (bench.folder / "cache.sqlite").write_bytes(b"spoiled" * 1000)
    return {}


def _later_cache(bench: Bench) -> Mapping[str, Any]:
    with Cache(bench.folder / "cache.sqlite"):
        pass
    with sqlite3.connect(bench.folder / "cache.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    return {}


def _no_leases(bench: Bench) -> Mapping[str, Any]:
    """The folder for the leases of buyers cannot be made."""
    with Cache(bench.folder / "cache.sqlite"):
        pass
    (bench.folder / "cache.sqlite.buyers").write_text("")
    return {}


def _mounted(bench: Bench, options: str) -> Path:
    """A disk of its own. Only root may mount one."""
    place = bench.folder / "disk"
    place.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None:
        pytest.skip("this machine cannot mount a disk")
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "none", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user may not mount a disk")
    bench.stack.callback(lambda: subprocess.run([unmount, place], check=True))
    return place


def _read_only(bench: Bench) -> Mapping[str, Any]:
    """A folder that cannot be written, not even by root."""
    if os.geteuid() == 0:
        return {"output.directory": str(_mounted(bench, "ro,size=50m") / "run")}
    place = bench.folder / "read-only"
    place.mkdir(mode=0o555)
    return {"output.directory": str(place / "run")}


def _full_disk(bench: Bench) -> Mapping[str, Any]:
    place = _mounted(bench, "size=64k")
    (place / "filling").write_bytes(bytes(40_000))
    return {"output.directory": str(place / "run")}


def _variable(name: str, value: str, **settings: Any) -> Plant:
    def set_variable(bench: Bench) -> Mapping[str, Any]:
        bench.patch.setenv(name, value)
        return {key.replace("__", "."): setting for key, setting in settings.items()}

    return set_variable


def _wrong_proxy(bench: Bench) -> Mapping[str, Any]:
    bench.patch.setenv("TEACHER_URL", "http://teacher.invalid")
    bench.patch.setenv("HTTP_PROXY", "http://proxy:port")
    return {}


def _url(open_server: Callable[[Bench], str], **settings: Any) -> Plant:
    """A teacher at the URL of a server."""

    def plant(bench: Bench) -> Mapping[str, Any]:
        bench.patch.setenv("TEACHER_URL", open_server(bench))
        return {name.replace("__", "."): setting for name, setting in settings.items()}

    return plant


def closed_port(_: Bench) -> str:
    """The URL of a port where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def _website(bench: Bench) -> str:
    """A server of web pages, where a teacher was meant to be."""

    class Pages(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            self.answer(404, b"<title>Not here</title>", {"Content-Type": "text/html"})

    return bench.stack.enter_context(running(Pages))


def _redirecting(bench: Bench) -> str:
    class Redirect(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            self.answer(308, b"", {"Location": f"http://teacher.test{self.path}"})

    return bench.stack.enter_context(running(Redirect))


def _starting(bench: Bench) -> str:
    class Starting(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            self.answer(503, b"starting", {})

    return bench.stack.enter_context(running(Starting))


def _wrong_clock(bench: Bench) -> str:
    """A teacher whose clock is an hour ahead."""
    model = ForeignModel(lambda images: np.zeros((len(images), 10)), image_shape=(1, 8, 8), num_classes=10)

    class Early(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            answers = {"/v2": {"extensions": []}, "/v2/models/teacher": model.metadata()}
            content = answers.get(self.path)
            self.answer_json(200 if content else 404, content or {})

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int((timestamp or time.time()) + HOUR_SECONDS))

    return bench.stack.enter_context(running(Early))


@contextmanager
def _accepting(reply: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose connections get this reply, each in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                Thread(target=reply, args=(connection,), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _silent(bench: Bench) -> str:
    """A server that accepts connections and never answers."""
    kept: list[socket.socket] = []

    def close() -> None:
        for connection in kept:
            connection.close()

    bench.stack.callback(close)
    return f"http://127.0.0.1:{bench.stack.enter_context(_accepting(kept.append))}"


def _secure_shell(bench: Bench) -> str:
    """A server of another protocol than HTTP."""

    def reply(connection: socket.socket) -> None:
        with connection:
            connection.recv(10_000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

    return f"http://127.0.0.1:{bench.stack.enter_context(_accepting(reply))}"


def _self_signed(bench: Bench) -> str:
    """A server with a certificate that no known authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def reply(connection: socket.socket) -> None:
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:  # the client hangs up
            connection.close()

    return f"https://127.0.0.1:{bench.stack.enter_context(_accepting(reply))}"


def _plain(bench: Bench) -> str:
    """The URL of a server without TLS, as if it had it."""
    return _website(bench).replace("http://", "https://")


def _other_model(bench: Bench) -> str:
    model = ForeignModel(lambda images: np.zeros((len(images), 10)), image_shape=(1, 8, 8), num_classes=10)
    return bench.stack.enter_context(served(model))


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
        _settings(training__step=5),
    ),
    Planted(
        "a mistyped method",
        "configuration",
        "did you mean 'ckd'?",
        REMEDY.format(source="run.toml"),
        _settings(method__name="ckdd"),
    ),
    Planted(
        "a folder of data that is not there",
        "data",
        "expected a folder, got no folder",
        DATA_REMEDY,
        _settings(data__name="image-folder", data__path="absent"),
    ),
    Planted(
        "an image file that cannot be read", "data", "broken.png: expected a picture", DATA_REMEDY, _unreadable_image
    ),
    Planted(
        "more samples than the data have",
        "samples",
        "budget.n: expected at most 1297",
        REMEDIES["samples"],
        _settings(budget__n=5000),
    ),
    Planted(
        "a mistyped network",
        "network",
        "did you mean 'resnet8'?",
        NETWORK_REMEDY,
        _settings(student__network="resnt8"),
    ),
    Planted(
        "a network for larger images",
        "network",
        "Wrong image height",
        NETWORK_REMEDY,
        _settings(student__network="torchvision:vit_b_32"),
    ),
    Planted("a GPU that is not there", "device", "expected a CUDA device, got none", REMEDIES["device"], _absent_cuda),
    Planted(
        "a precision that the device lacks",
        "precision",
        "expected auto, float32 or bfloat16 on a CPU",
        REMEDIES["precision"],
        _settings(training__precision="float16"),
    ),
    Planted(
        "a run directory that cannot be written",
        "directory",
        "cannot write to it",
        REMEDIES["directory"],
        _read_only,
    ),
    Planted("a full disk", "disk-space", "MB of free disk space for the student", REMEDIES["disk-space"], _full_disk),
    Planted("a damaged cache", "cache-file", "the cache of bought outputs cannot be used", FILE_REMEDY, _damaged_cache),
    Planted("a cache of a later version", "cache-file", "got version 9999", VERSION_REMEDY, _later_cache),
    Planted("a cache that cannot be written", "cache", "cannot be used", REMEDIES["cache"], _no_leases),
    Planted(
        "TEACHER_URL without http://",
        "address",
        "TEACHER_URL: expected a URL such as",
        ADDRESS_REMEDY,
        _variable("TEACHER_URL", "127.0.0.1:8000"),
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
        _variable("TEACHER_URL", "http://teacher.invalid"),
    ),
    Planted(
        "a port where nothing listens",
        "reachable",
        "Connection refused",
        OF_OBSTACLE[Obstacle.CONNECTION_REJECTED],
        _url(closed_port),
    ),
    Planted(
        "a server that never answers",
        "reachable",
        "timed out",
        OF_OBSTACLE[Obstacle.TIMEOUT],
        _url(_silent, teacher__timeout_seconds=0.3),
    ),
    Planted(
        "the port of a web site",
        "reachable",
        "404 HTML page 'Not here'",
        OF_OBSTACLE[Obstacle.PROTOCOL],
        _url(_website),
    ),
    Planted(
        "the port of a server without HTTP",
        "reachable",
        "the teacher cannot be reached",
        OF_OBSTACLE[Obstacle.PROTOCOL],
        _url(_secure_shell),
    ),
    Planted(
        "a certificate that no authority signed",
        "reachable",
        "expected a certificate that is trusted",
        OF_OBSTACLE[Obstacle.CERTIFICATE],
        _url(_self_signed),
    ),
    Planted(
        "https:// for a server without TLS",
        "reachable",
        "expected TLS, got another protocol",
        OF_OBSTACLE[Obstacle.NO_TLS],
        _url(_plain),
    ),
    Planted(
        "a server that redirects",
        "reachable",
        "the server redirects to",
        OF_OBSTACLE[Obstacle.REDIRECT],
        _url(_redirecting),
    ),
    Planted("a server that is starting", "reachable", "503", OF_OBSTACLE[Obstacle.BUSY], _url(_starting)),
    Planted(
        "a mistyped model",
        "reachable",
        "check teacher.model",
        OF_OBSTACLE[Obstacle.MODEL],
        _url(_other_model, teacher__model="techer"),
    ),
    Planted(
        "the closed port of a vendor, where each request is charged",
        "reachable",
        "Connection refused",
        OF_OBSTACLE[Obstacle.CONNECTION_REJECTED],
        _url(closed_port, teacher__protocol="labelled-scores", teacher__labels={"one": 1, "nine": 9}),
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
        _arrays(9, 9),
    ),
    Planted(
        "colour images for a teacher of grey ones",
        "image-shape",
        "got [3, 8, 8]",
        REMEDIES["image-shape"],
        _arrays(8, 8, 3),
    ),
    Planted(
        "data with other classes",
        "classes",
        "expected 10 classes",
        REMEDIES["classes"],
        _arrays(8, 8, classes=3),
        also=("class-names",),
    ),
    Planted(
        "classes of other names",
        "class-names",
        "expected the classes of the teacher",
        REMEDIES["class-names"],
        _settings(teacher__class_names=["nought", *"123456789"]),
    ),
    Planted(
        "an output that the teacher does not sell",
        "outputs",
        "teacher.output: expected 'top_k:99'",
        REMEDIES["outputs"],
        _settings(teacher__output="top_k:99"),
    ),
    Planted(
        "a clock that is wrong by an hour",
        "clock",
        "ahead of this machine's",
        CLOCK_REMEDY,
        _url(_wrong_clock),
        grade="warning",
    ),
)
"""All of them, in the order of the checks."""
