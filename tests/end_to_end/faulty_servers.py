"""Servers that are no teacher, or none that a run can use."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np

from tests.end_to_end.fault_bench import Bench, Plant
from tests.end_to_end.processes import free_port
from tests.foreign.oip_server import ForeignModel, served
from tests.foreign.serving import Handler, running

CERTIFICATE: Final = Path(__file__).parents[1] / "distill_worker" / "teachers" / "loopback.pem"
HOUR_SECONDS: Final = 3600


def at_url_of(open_server: Callable[[Bench], str], **settings: Any) -> Plant:
    """A teacher at the URL of a server."""

    def plant(bench: Bench) -> Mapping[str, Any]:
        bench.patch.setenv("TEACHER_URL", open_server(bench))
        return {name.replace("__", "."): setting for name, setting in settings.items()}

    return plant


def closed_port(_: Bench) -> str:
    """The URL of a port where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def website(bench: Bench) -> str:
    """A server of web pages, where a teacher was meant to be."""

    class Pages(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            self.answer(404, b"<title>Not here</title>", {"Content-Type": "text/html"})

    return bench.stack.enter_context(running(Pages))


def redirecting(bench: Bench) -> str:
    class Redirect(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            self.answer(308, b"", {"Location": f"http://teacher.test{self.path}"})

    return bench.stack.enter_context(running(Redirect))


def starting(bench: Bench) -> str:
    class Starting(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            self.answer(503, b"starting", {})

    return bench.stack.enter_context(running(Starting))


def wrong_clock(bench: Bench) -> str:
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


def silent(bench: Bench) -> str:
    """A server that accepts connections and never answers."""
    kept: list[socket.socket] = []

    def close() -> None:
        for connection in kept:
            connection.close()

    bench.stack.callback(close)
    return f"http://127.0.0.1:{bench.stack.enter_context(_accepting(kept.append))}"


def secure_shell(bench: Bench) -> str:
    """A server of another protocol than HTTP."""

    def reply(connection: socket.socket) -> None:
        with connection:
            connection.recv(10_000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

    return f"http://127.0.0.1:{bench.stack.enter_context(_accepting(reply))}"


def self_signed(bench: Bench) -> str:
    """A server with a certificate that no known authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def reply(connection: socket.socket) -> None:
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:  # the client hangs up
            connection.close()

    return f"https://127.0.0.1:{bench.stack.enter_context(_accepting(reply))}"


def without_tls(bench: Bench) -> str:
    """The URL of a server without TLS, as if it had it."""
    return website(bench).replace("http://", "https://")


def other_model(bench: Bench) -> str:
    model = ForeignModel(lambda images: np.zeros((len(images), 10)), image_shape=(1, 8, 8), num_classes=10)
    return bench.stack.enter_context(served(model))
