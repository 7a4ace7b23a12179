"""What a message says of a response that is no answer, and of a connection that fails."""

import gzip
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from distill_worker.errors import TeacherError, TeacherRefused, TeacherUnavailable
from distill_worker.teachers.http_errors import error_from_response
from distill_worker.teachers.http_sender import Sender
from tests.distill_worker.teachers.scripted_server import URL, Server

CERTIFICATE = Path(__file__).with_name("loopback.pem")
PAGE = """<!DOCTYPE html><html><head><style>body {color: red}</style>
<title>
 502 Bad&nbsp;Gateway &amp; more</title></head><body>A long page</body></html>"""


def _message(response: httpx.Response, *, path: str = "/v2", samples: int = 0, content: bytes = b"") -> str:
    response.request = httpx.Request("POST", URL + path, content=content)
    return str(error_from_response(URL, response, samples))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("location", "target", "setting"),
    [
        ("https://teacher.test/v2", "https://teacher.test/v2", "https://teacher.test"),
        ("/v1/v2", f"{URL}/v1/v2", f"{URL}/v1"),
        ("//other.test/sign-in?next=/v2", "http://other.test/sign-in", "http://other.test/sign-in"),
        ("https://user:hunter2@teacher.test/v2?key=hunter2", "https://teacher.test/v2", "https://teacher.test"),
        ("https://teacher.test/v2/", "https://teacher.test/v2/", "https://teacher.test"),
    ],
)
def test_redirect_names_its_target_and_the_setting(status: int, location: str, target: str, setting: str) -> None:
    message = _message(httpx.Response(status, headers={"Location": location}, html="<h1>Moved</h1>"))
    assert f"{status} HTML page 'Moved'; the server redirects to {target}. " in message
    assert message.endswith(f"set teacher.url (or TEACHER_URL) to {setting}")
    assert "hunter2" not in message


@pytest.mark.parametrize("location", [f"{URL}/v2/", "/v2?next=1", "/v2/"])
def test_redirect_to_the_same_url_advises_no_setting(location: str) -> None:
    """The setting has no slash at its end that the path could get."""
    message = _message(httpx.Response(308, headers={"Location": location}))
    assert message.endswith("No other teacher.url avoids that: the server must answer this path itself")


@pytest.mark.parametrize(("path", "location"), [("", "/"), ("/", "")])
def test_redirect_of_the_whole_url_names_it_with_its_slash(path: str, location: str) -> None:
    response = httpx.Response(301, headers={"Location": f"http://a.test/predict{location}"})
    response.request = httpx.Request("POST", f"http://a.test/predict{path}")
    message = str(error_from_response("http://a.test/predict", response))
    assert message.endswith(f"set teacher.url (or TEACHER_URL) to http://a.test/predict{location}")


def test_redirect_is_not_followed() -> None:
    """The other server would get the API key."""
    server = Server(httpx.Response(307, headers={"Location": "http://other.test/"}))
    with pytest.raises(TeacherError, match=r"redirects to http://other\.test"):
        server.buy()
    assert [request.url.host for request in server.requests] == ["teacher.test"]


@pytest.mark.parametrize("location", ["http://[::1", "http://a.test:port/", "\x1b[2J"])
def test_target_that_is_no_url_is_shown_as_text(location: str) -> None:
    message = _message(httpx.Response(301, headers={"Location": location}))
    assert "redirects to " in message
    assert message.isprintable()


def test_too_large_request_names_the_setting_and_the_size_that_was_sent() -> None:
    response = httpx.Response(413, html="<title>413 Request Entity Too Large</title>")
    message = _message(response, samples=32, content=bytes(12_345))
    assert "413 HTML page '413 Request Entity Too Large'" in message
    assert "32 samples in 12,345 bytes were sent: set teacher.request_size to less than 32" in message
    assert "the server must allow larger requests" in _message(httpx.Response(413), samples=1, content=b"1")


def test_size_of_a_real_request_is_counted() -> None:
    with pytest.raises(TeacherRefused, match=r"2 samples in \d+ bytes were sent"):
        Server(httpx.Response(413)).buy()


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (httpx.Response(500, html=PAGE), "500 HTML page '502 Bad Gateway & more'"),
        (httpx.Response(500, text=PAGE), "500 HTML page '502 Bad Gateway & more'"),
        (httpx.Response(403, text="<h1>Forbidden</h1>"), "403 HTML page 'Forbidden'"),
        (httpx.Response(403, text="<h1><b class='x'>Not</b><br>here</h1>"), "403 HTML page 'Not here'"),
        (httpx.Response(500, html="<p>" + "x" * 10_000), "500 HTML page without a title"),
        (httpx.Response(401, html=PAGE), "401 HTML page '502 Bad Gateway & more'; check the API key (TEACHER_API_KEY"),
        (httpx.Response(407), "407 Proxy Authentication Required; the proxy requires a user and password"),
        (httpx.Response(500, text="a\x1b[31mb\r\n\x00c\u202e"), "500 a [31mb c"),
        (httpx.Response(500, content=b"\xff\xfe\x80"), "500 "),
        (httpx.Response(500, content=b"x", headers={"Content-Type": "text/plain; charset=nonsense"}), "500 x"),
        (httpx.Response(500, json={"detail": "a\x1b[31m" + "b" * 10_000}), "500 a [31mbbb"),
        (httpx.Response(500, json={"error": {"message": "out of memory", "code": 5}}), "500 out of memory"),
        (httpx.Response(500, json={"message": "no such route"}), "500 no such route"),
        (httpx.Response(500, json={"detail": [{"loc": ["body"]}]}), "500 [{'loc': ['body']}]"),
        (httpx.Response(500, content=b"[" * 100_000), "500 [[["),
        (httpx.Response(500), "500 Internal Server Error"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_response_is_shown_short_on_one_line_without_control_characters(
    response: httpx.Response, expected: str
) -> None:
    message = _message(response)
    assert message.startswith(f"{URL}: {expected}")
    assert message.isprintable()
    assert len(message) < 500
    assert "color: red" not in message


def test_sign_in_page_in_place_of_json_is_named() -> None:
    with (
        Server(httpx.Response(200, html="<title>Sign in</title>" + "x" * 1000)).teacher() as teacher,
        pytest.raises(TeacherError, match=r"/v2: expected JSON, got HTML page 'Sign in'$"),
    ):
        teacher.describe()


def test_json_that_is_nested_too_deeply_is_no_json() -> None:
    with (
        Server(httpx.Response(200, content=b"[" * 100_000)).teacher() as teacher,
        pytest.raises(TeacherError, match=r"/v2: expected JSON, got \[\[\["),
    ):
        teacher.describe()


def _sender(url: str, retries: list[str]) -> Sender:
    return Sender(
        url,
        api_key="secret",
        timeout_seconds=10,
        give_up_after_seconds=0.5,
        on_retry=retries.append,
        sleep=lambda _: None,
    )


@contextmanager
def _over_tls(version: ssl.TLSVersion | None = None) -> Iterator[str]:
    """A server with a certificate; if a TLS version is given, it speaks no other and requires one of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    if version is not None:
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
    with ThreadingHTTPServer(("127.0.0.1", 0), _Json) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        with _running(server):
            yield f"https://127.0.0.1:{server.server_port}"


class _Json(BaseHTTPRequestHandler):
    """Answers `{}`, as HTTP/1.0."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Keep standard error for the tests."""


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # failing handshakes are the tests
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def _plain(handler: type[BaseHTTPRequestHandler] = _Json) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, _running(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_wrong_certificate_is_not_retried_and_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    retries: list[str] = []
    with _over_tls() as url:
        with (
            _sender(url, retries) as sender,
            pytest.raises(TeacherRefused, match=r"certificate that is trusted, got .*Nothing was sent.*SSL_CERT_FILE"),
        ):
            sender.json("/v2")
        assert retries == []
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with _sender(url, retries) as sender:
            assert sender.json("/v2") == {}
        with (
            _sender(url.replace("127.0.0.1", "localhost"), retries) as sender,
            pytest.raises(TeacherRefused, match=r"got that of another \(Hostname.*teacher\.url.*name") as raised,
        ):
            sender.json("/v2")
    assert "SSL_CERT_FILE" not in str(raised.value)
    assert retries == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_server_that_requires_a_certificate_is_not_retried(
    monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    retries: list[str] = []
    with (
        _over_tls(version) as url,
        _sender(url, retries) as sender,
        pytest.raises(TeacherRefused, match=r"rejection of its TLS .*requires a certificate of its clients"),
    ):
        sender.json("/v2")
    assert retries == []


def test_plain_server_in_place_of_tls_is_not_retried() -> None:
    retries: list[str] = []
    with (
        _plain() as url,
        _sender(url.replace("http:", "https:"), retries) as sender,
        pytest.raises(
            TeacherRefused, match=r"expected TLS, got another protocol.*teacher\.url must begin with http://"
        ),
    ):
        sender.json("/v2")
    assert retries == []


@contextmanager
def _saying(reply: bytes) -> Iterator[str]:
    """A server of another protocol, which sends these bytes to each connection and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "reply", [b"\x15\x03\x01\x00\x02\x02\x46", b"SSH-2.0-OpenSSH_9.9\r\n", b""], ids=["TLS alert", "SSH", "nothing"]
)
def test_server_of_another_protocol_is_one_clear_sentence(reply: bytes) -> None:
    with (
        _saying(reply) as url,
        _sender(url, []) as sender,
        pytest.raises(TeacherUnavailable, match=r"teacher\.url must begin with https://") as raised,
    ):
        sender.json("/v2")
    assert str(raised.value).isprintable()


def _answering(send: Callable[[BaseHTTPRequestHandler], None], protocol: str = "HTTP/1.1") -> type[_Json]:
    class Handler(_Json):
        protocol_version = protocol

        def do_GET(self) -> None:
            send(self)

    return Handler


def _wrongly_encoded(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", "3")
    handler.end_headers()
    handler.wfile.write(b"{}}")


def _after_a_hundred(handler: BaseHTTPRequestHandler) -> None:
    content = gzip.compress(b"{}")
    handler.send_response_only(100)
    handler.end_headers()
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def test_wrong_content_encoding_is_not_retried() -> None:
    retries: list[str] = []
    with (
        _plain(_answering(_wrongly_encoded)) as url,
        _sender(url, retries) as sender,
        pytest.raises(
            TeacherError, match=r"expected JSON, got \{\}\}; its Content-Encoding is gzip, and it cannot be decoded"
        ),
    ):
        sender.json("/v2")
    assert retries == []


@pytest.mark.parametrize("handler", [_Json, _answering(_after_a_hundred)], ids=["HTTP/1.0", "100-continue"])
def test_old_and_chatty_servers_are_understood(handler: type[BaseHTTPRequestHandler]) -> None:
    with _plain(handler) as url, _sender(url, []) as sender:
        assert sender.json("/v2") == {}


def test_proxy_that_requires_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an encrypted connection the proxy itself says so, before anything is sent to the teacher."""

    class Proxy(_Json):
        def do_CONNECT(self) -> None:
            self.send_error(407)

    retries: list[str] = []
    with _plain(Proxy) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        address = proxy.removeprefix("http://")
        expected = rf"the proxy {address} of HTTPS_PROXY requires a user and password.*Nothing was sent\."
        with (
            _sender("https://teacher.test", retries) as sender,
            pytest.raises(TeacherRefused, match=expected),
        ):
            sender.json("/v2")
    assert retries == []


def test_name_that_is_not_resolved_says_where_it_is_set() -> None:
    expected = re.escape("http://teacher.invalid: the teacher cannot be reached (") + ".*teacher.url, or TEACHER_URL"
    with _sender("http://teacher.invalid", []) as sender, pytest.raises(TeacherUnavailable, match=expected):
        sender.json("/v2")


def test_proxy_that_is_not_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its variable, and without its password."""
    with _plain() as unused:
        closed = unused.removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://user:hunter2@{closed}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    expected = rf"cannot be reached through the proxy {closed} of http_proxy \(.*NO_PROXY"
    with _sender("http://teacher.test", []) as sender, pytest.raises(TeacherUnavailable, match=expected) as raised:
        sender.json("/v2")
    assert "hunter2" not in str(raised.value)


def test_answer_that_came_through_a_proxy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy may have sent it."""

    class Proxy(_Json):
        def do_GET(self) -> None:
            self.send_error(403)

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    with _plain(Proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        expected = rf"403 HTML page .*\(through the proxy {proxy.removeprefix('http://')} of HTTP_PROXY\)"
        with _sender("http://teacher.test", []) as sender, pytest.raises(TeacherError, match=expected):
            sender.json("/v2")


@pytest.mark.parametrize("teacher", ["http://teacher.test", "https://teacher.test"])
def test_plain_proxy_in_place_of_an_encrypted_one_is_not_retried(monkeypatch: pytest.MonkeyPatch, teacher: str) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    retries: list[str] = []
    with _plain() as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.replace("http:", "https:"))
        expected = r"expected TLS.*the proxy 127\.0\.0\.1:\d+ of ALL_PROXY does, its variable must begin with http://"
        with _sender(teacher, retries) as sender, pytest.raises(TeacherRefused, match=expected):
            sender.json("/v2")
    assert retries == []
