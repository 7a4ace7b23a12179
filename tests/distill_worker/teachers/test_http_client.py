"""What the environment and the URL mean for a client: proxies, certificates, clear sentences where they are wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from distill_worker.errors import ConfigError
from distill_worker.teachers.http_client import checked_url, is_loopback, open_client

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
KEY = "tk_1_secret"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def _recording(host: str = "127.0.0.1") -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that may be used as a proxy: its address, and the target and the key of each request that it got."""
    received: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            """Keep standard error for the tests."""

    with ThreadingHTTPServer((host, 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def _client(url: str) -> httpx.Client:
    return open_client(url, api_key=KEY, transport=None, timeout=5)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
def test_this_machine_is_never_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    """The proxy would get the API key in clear text."""
    with _recording() as (proxy, through_proxy), _recording() as (url, direct):
        monkeypatch.setenv(variable, proxy)
        with _client(url.replace("127.0.0.1", host)) as client:
            assert client.get("/v2").status_code == 200
    assert through_proxy == []
    assert direct == [("/v2", f"Bearer {KEY}")]


def test_other_servers_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with _recording() as (proxy, through_proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy.removeprefix("http://"))  # without a scheme, as some tools write it
        with _client("http://teacher.test:8000") as client:
            client.get("/v2")
    assert through_proxy == [("http://teacher.test:8000/v2", f"Bearer {KEY}")]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.8.7", "::1", "[::1]", "localhost", "LOCALHOST.", "127.1")),
        *((host, True) for host in ("::ffff:127.0.0.1", "a.localhost", "0.0.0.0", "::")),
        *((host, True) for host in ("ip6-localhost", "ip6-loopback", "localhost.localdomain", "127.0.0.1.")),
        *((host, True) for host in ("localhost4", "localhost6.localdomain6", "LocalHost.LocalDomain.")),
        *((host, False) for host in ("localhost.localdomain.test", "ip7-localhost", "localdomain")),
        *((host, False) for host in ("128.0.0.1", "10.0.0.1", "::2", "teacher.test", "localhost.test", "mylocalhost")),
    ],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("no_proxy", "url", "exempt"),
    [
        ("::1,fe80::/10", "http://teacher.test", False),
        ("[::1]:8000, [fe80::1]", "http://teacher.test", False),
        ("2001:db8::/32", "http://[2001:db8::7]:8000", True),
        ("[2001:db8::7]", "http://[2001:db8::7]:8000", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("teacher.test", "https://teacher.test", True),
        (".test", "https://teacher.test", True),
        ("teacher.test:8000", "http://teacher.test:8000", True),
        ("teacher.test:8000", "http://teacher.test:8001", False),
        ("*", "http://teacher.test", True),
        (" ,,:,[,] ", "http://teacher.test", False),
        (" * ", "http://teacher.test", True),
        ("*.test", "http://teacher.test", True),
        ("*.other", "http://teacher.test", False),
        ("a.other teacher.test\tb.other", "http://teacher.test", True),
        ("a.other 10.0.0.0/8", "http://10.1.2.3", True),
        ("TEACHER.test.", "http://teacher.TEST.", True),
        ("cher.test", "http://teacher.test", False),
    ],
)
def test_no_proxy_exempts_names_addresses_and_networks(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, exempt: bool
) -> None:
    """And what cannot be read in it is passed over."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test:1080")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    if exempt:
        _client(url).close()
        return
    with pytest.raises(ConfigError, match="socksio"):
        _client(url)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ALL_PROXY", "socks5://user:hunter2@proxy.test", r"ALL_PROXY.*got socks5://proxy.test:1080\. .*NO_PROXY"),
        ("HTTPS_PROXY", "http://user:hunter2@proxy.test:port", r"^HTTPS_PROXY: expected a proxy as http://HOST:PORT"),
        ("HTTPS_PROXY", "ftp://user:hunter2@proxy.test", r"^HTTPS_PROXY: expected a proxy as http://HOST:PORT"),
        ("https_proxy", "http://user:hun/ter2@proxy.test:1", r"^https_proxy: expected .*not shown.*/ as %2F"),
        ("HTTPS_PROXY", "http://user:12/hunter2@proxy.test:1", r"^HTTPS_PROXY: expected .*not shown"),
        ("HTTPS_PROXY", "http://user:#hunter2@proxy.test:1", r"^HTTPS_PROXY: expected .*not shown"),
        ("HTTPS_PROXY", "http://proxy.test:99999", r"^HTTPS_PROXY: expected .*got 'http://proxy.test:99999'"),
        ("HTTPS_PROXY", "http://:3128", r"^HTTPS_PROXY: expected .*got 'http://:3128'"),
        ("HTTPS_PROXY", "http://proxy..test:3128", r"^HTTPS_PROXY: expected .*got 'http://proxy..test:3128'"),
        ("SSLKEYLOGFILE", "/nowhere/keys", r"^SSLKEYLOGFILE: expected a file that can be written.*'/nowhere/keys'"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", r"SSL_CERT_FILE: expected a file of certificates.*'/nowhere/ca.pem'"),
        ("SSL_CERT_FILE", __file__, r"SSL_CERT_FILE: expected a file of certificates in PEM format"),
        ("SSL_CERT_DIR", "/nowhere", r"SSL_CERT_DIR: expected a folder of certificates.*'/nowhere'"),
    ],
)
def test_wrong_variable_is_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """And no reason to stop where it does not count: without encryption, and on this machine."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=expected) as raised:
        _client("https://teacher.test")
    assert "ter2" not in str(raised.value)
    _client("http://127.0.0.1:8000").close()


@pytest.mark.parametrize("variable", VARIABLES)
def test_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "")
    _client("https://teacher.test").close()


def test_certificates_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    _client("https://teacher.test").close()


@pytest.mark.parametrize("url", ["http://a.test\n", " https://a.test:8443/x ", "http://[::1]:8000"])
def test_white_space_around_a_url_is_no_part_of_it(url: str) -> None:
    assert checked_url(url, "TEACHER_URL") == url.strip()


@pytest.mark.parametrize(
    "url",
    [
        "http://a.test:port",
        "http://a.test:99999",
        "http://a.test:0",
        "http://a .test",
        "http://a.test/\nx",
        "http://a.test/\x1b[2J",
        "http://[::1",
        "http://",
        "localhost:8000",
        "a.test",
        "ftp://a.test",
        "tcp://10.0.0.5:8000",
        "http://teacher..example.com",
        "http://.",
        f"http://{'a' * 64}.test",
        "http://xn--a",
        "http://a.test/x@y",
        "",
    ],
)
def test_text_that_is_no_url_is_one_clear_sentence(url: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^TEACHER_URL: expected a URL such as http://127\.0\.0\.1:8000, got "
    ) as raised:
        checked_url(url, "TEACHER_URL")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pa/ss:w@a.test",
        "http://user:pa#ss@a.test:x",
        "user:pa ss@a.test",
        "http://user:1234/pass@a.test",
        "http://user:1234?pass@a.test",
        "http://user:1234#pass@a.test",
        "http://user/pass@a.test",
        "http://user@b.test/pass@a.test",
    ],
)
def test_password_in_a_wrong_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        checked_url(url, "TEACHER_URL")
    assert "pa" not in str(raised.value).replace("password", "")
