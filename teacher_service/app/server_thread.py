"""The HTTP server in a thread of a program that goes on, such as a notebook."""

import socket
from threading import Event, Thread

from fastapi import FastAPI

from teacher_service.api.server import DrainingServer


class ServerThread:
    """A server that answers from when this object exists until `stop`."""

    def __init__(self, listener: socket.socket, app: FastAPI, drain_seconds: float) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it did not start; its log says why.
        """
        self._ready = Event()
        self._server = DrainingServer(app, drain_seconds, on_start=self._ready.set)
        # A daemon: an exit of the program does not wait for it. Its ledger is on disk before an answer leaves.
        self._thread = Thread(target=self._run, args=(listener,), name="teacher-service", daemon=True)
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            self._thread.join()
            raise RuntimeError("the service did not start; its log on standard error says why")

    def stop(self) -> None:
        """Finish the queries in flight, for at most `drain_seconds`, and end the server. Again, it does nothing."""
        self._server.drain()
        self._thread.join()

    def _run(self, listener: socket.socket) -> None:
        try:
            self._server.run(sockets=[listener])
        except SystemExit:  # how uvicorn says that the application did not start
            pass
        finally:
            listener.close()
            self._ready.set()
