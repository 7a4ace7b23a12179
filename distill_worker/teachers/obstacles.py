"""What kind of obstacle is between this machine and a usable teacher, from the error that a free request raised."""

import ssl
from collections.abc import Iterator
from enum import Enum, auto
from socket import gaierror

import httpx

from distill_worker.errors import TeacherError


class Obstacle(Enum):
    """Why a teacher cannot be used."""

    NAME = auto()
    """No address is known for the server's name."""
    CONNECTION_REJECTED = auto()
    """No program listens at the port."""
    TIMEOUT = auto()
    CERTIFICATE = auto()
    NO_TLS = auto()
    """One side encrypts, and the other does not."""
    PROXY = auto()
    """The proxy before the server cannot be used."""
    API_KEY = auto()
    """The server does not accept the API key, or needs one."""
    MODEL = auto()
    """The server has no such model."""
    PROTOCOL = auto()
    """Some server responds, and it does not speak the teacher's protocol."""
    REDIRECT = auto()
    BUSY = auto()
    """The server is overloaded, or is starting."""
    OTHER = auto()

    @property
    def is_of_connection(self) -> bool:
        """Whether no server was reached that could be the teacher."""
        return self not in (Obstacle.API_KEY, Obstacle.MODEL, Obstacle.BUSY)


_OF_STATUS = {
    401: Obstacle.API_KEY,
    403: Obstacle.API_KEY,
    407: Obstacle.PROXY,
    429: Obstacle.BUSY,
    502: Obstacle.BUSY,
    503: Obstacle.BUSY,
    504: Obstacle.BUSY,
}


def obstacle_of(error: TeacherError) -> Obstacle:
    """The obstacle that an error of `Teacher.describe`, or of `http_client.try_connection`, stands for."""
    causes = list(_causes(error))
    response = next((cause.response for cause in causes if isinstance(cause, httpx.HTTPStatusError)), None)
    if response is not None:
        status = response.status_code
        if 300 <= status < 400:
            return Obstacle.REDIRECT
        if status == 404:
            return Obstacle.MODEL if "/v2/models/" in response.request.url.path else Obstacle.PROTOCOL
        return _OF_STATUS.get(status, Obstacle.OTHER)
    for kind, obstacle in (
        (gaierror, Obstacle.NAME),
        (ConnectionRefusedError, Obstacle.CONNECTION_REJECTED),
        (ssl.SSLCertVerificationError, Obstacle.CERTIFICATE),
        (ssl.SSLError, Obstacle.NO_TLS),
        (httpx.ProxyError, Obstacle.PROXY),
        ((httpx.TimeoutException, TimeoutError), Obstacle.TIMEOUT),
        (httpx.RemoteProtocolError, Obstacle.PROTOCOL),
        (httpx.TransportError, Obstacle.OTHER),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return obstacle
    return Obstacle.PROTOCOL  # it responded, with what the protocol does not have


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
