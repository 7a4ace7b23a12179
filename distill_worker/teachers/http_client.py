"""The HTTP client of one server, from its URL and the environment: proxies and certificates.

The variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR count, in either case where
that is usual (docs/reaching-a-teacher.md).

Invariant: requests to this machine never go through a proxy, which would get the API key.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import getproxies, proxy_bypass

import httpx

from distill_worker.errors import ConfigError
from distill_worker.teachers.http_errors import error_from_failure, public_url
from shared.durable.database_url import ESCAPES

_PORTS: Final = {"http": 80, "https": 443}
_PROXY_PORTS: Final = {**_PORTS, "socks5": 1080, "socks5h": 1080}
_AFTER_HOST: Final = re.compile(r"[^/?#]*//[^/?#]*")
"""What precedes the path, the query and the fragment of a URL."""
_OWN_NAMES: Final = re.compile(r"(.*\.)?localhost[46]?(\.localdomain[46]?)?|ip6-(localhost|loopback)")


def checked_url(text: str, source: str) -> str:
    """The URL of a server, without white space around it. `source` names it in messages.

    Raises:
        ConfigError: it is no URL of an HTTP server; the message does not show credentials.
    """
    url = text.strip()
    if _parsed(url, _PORTS) is None:
        raise ConfigError(f"{source}: expected a URL such as http://127.0.0.1:8000, got {_shown(url)}")
    return url


def open_client(
    url: str, *, api_key: str | None, transport: httpx.BaseTransport | None, **options: Any
) -> httpx.Client:
    """A client of the server at this URL, which has neither query nor fragment.

    A user and password in the URL are sent in place of the API key.

    Raises:
        ConfigError: the URL, or a variable of the environment that counts for it, is wrong.
    """
    base = httpx.URL(checked_url(url, "teacher.url"))
    through = None if transport is not None else _proxy_for(base)
    proxy_is_encrypted = through is not None and through.url.scheme == "https"
    is_encrypted = base.scheme == "https" or proxy_is_encrypted
    # Certificates are only read where they count; what is not encrypted gets a context that trusts none.
    context = _certificates() if is_encrypted and transport is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(
        base_url=base,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        transport=transport,
        proxy=through and httpx.Proxy(through.url, ssl_context=context if proxy_is_encrypted else None),
        verify=context,
        trust_env=False,
        **options,
    )


def proxy_of(url: str) -> str:
    """The proxy between this machine and a server, for messages; empty if there is none. Raises `ConfigError`."""
    through = _proxy_for(httpx.URL(checked_url(url, "teacher.url")))
    return "" if through is None else str(through)


def try_connection(url: str, *, timeout_seconds: float) -> None:
    """Open a connection to a server, or to the proxy before it, and close it: nothing is sent, so nothing is charged.

    Raises:
        ConfigError: as `open_client`; TeacherError: there is no connection, or it cannot be encrypted.
    """
    target = httpx.URL(checked_url(url, "teacher.url"))
    through = _proxy_for(target)
    server = target if through is None else through.url
    try:
        with socket.create_connection((server.host, _port(server)), timeout_seconds) as plain:
            if server.scheme == "https":
                _certificates().wrap_socket(plain, server_hostname=server.host).close()
    except OSError as error:  # ssl.SSLError and socket.gaierror, too
        kind = httpx.ConnectTimeout if isinstance(error, TimeoutError) else httpx.ConnectError
        failure = kind(str(error))
        failure.__cause__ = error
        raise error_from_failure(public_url(url), failure, "" if through is None else str(through)) from failure


class _Proxy(NamedTuple):
    """A proxy, and the variable of the environment that names it."""

    url: httpx.URL
    variable: str

    def __str__(self) -> str:
        return f"the proxy {self.url.host}:{_port(self.url)} of {self.variable}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if address is None:
        return _OWN_NAMES.fullmatch(name) is not None
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(each.is_loopback or each.is_unspecified for each in (address, inner or address))


def _parsed(text: str, ports: Mapping[str, int]) -> httpx.URL | None:
    """The URL, if it is one with a host that can exist, of a scheme in `ports`; None otherwise.

    An @ after the host may end a password with an unescaped / ? or #, of which the host would be a part.
    """
    try:
        url = httpx.URL(text)
        url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        return None
    if url.scheme not in ports or not url.host.strip(".") or not 0 < _port(url) < 2**16:
        return None
    is_whole = all(letter.isprintable() and not letter.isspace() for letter in text)
    return url if is_whole and "@" not in _AFTER_HOST.sub("", text, count=1) else None


def _shown(text: str) -> str:
    """A wrong URL for messages; nothing of it if it may have a password."""
    if "@" in text:
        return (
            "a text with an @, which is not shown because it may have a password. In a user name or password, "
            f"{ESCAPES}; after the host, write @ as %40"
        )
    return repr(public_url(text)[:200])


def _port(url: httpx.URL) -> int:
    return _PROXY_PORTS[url.scheme] if url.port is None else url.port


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a host is written as; None if it is a name."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # short forms such as 127.1
    except (OSError, UnicodeEncodeError, ValueError):
        return None


def _proxy_for(url: httpx.URL) -> _Proxy | None:
    """The proxy between this machine and a server, if the environment names one."""
    proxies = getproxies()
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    named = proxies.get(scheme, "").strip()
    if not named or is_loopback(url.host) or _is_exempt(url, proxies.get("no", "")):
        return None
    variable = _variable(f"{scheme}_proxy")
    parsed = _parsed(named if "://" in named else f"http://{named}", _PROXY_PORTS)
    if parsed is None:
        raise ConfigError(f"{variable}: expected a proxy as http://HOST:PORT, got {_shown(named)}")
    if parsed.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigError(
            f"{variable}: expected an HTTP proxy, got {parsed.scheme}://{parsed.host}:{_port(parsed)}. For a SOCKS "
            f"proxy, install the package socksio; if {url.host} needs no proxy, add it to NO_PROXY"
        )
    return _Proxy(parsed, variable)


def _variable(name: str) -> str:
    """The variable that names a proxy, as the environment spells it: in lower case if both are set."""
    return name if os.environ.get(name) else name.upper()


def _is_exempt(url: httpx.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY names the server: by its name, a domain, its address, or a network of addresses."""
    if proxy_bypass(f"{url.host}:{_port(url)}"):
        return True
    host, entries = url.host.lower().rstrip("."), re.split(r"[\s,]+", no_proxy.lower().strip())
    domains = {entry.lstrip("*").strip(".") for entry in entries} - {""}
    names = (host, f"{host}:{_port(url)}")
    if "*" in entries or any(f".{name}".endswith(f".{domain}") for name in names for domain in domains):
        return True
    address = _address(host)
    return address is not None and any(address in network for network in _networks(entries))


def _networks(entries: Iterable[str]) -> Iterator[IPv4Network | IPv6Network]:
    for entry in entries:
        try:
            yield ip_network(re.sub(r"^\[(.*)\](:\d+)?$", r"\1", entry), strict=False)
        except ValueError:
            continue


def _certificates() -> ssl.SSLContext:
    """A context that trusts the certificates that the environment names, or else those of the package `certifi`."""
    file, folders = os.environ.get("SSL_CERT_FILE", "").strip(), os.environ.get("SSL_CERT_DIR", "").strip()
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise ConfigError(f"SSL_CERT_DIR: expected a folder of certificates, got {folders!r}, which does not exist")
    _check_key_log()
    if not file and not folders:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=file or None, capath=folders or None)
    except (OSError, ValueError) as error:  # ssl.SSLError, too
        raise ConfigError(
            f"SSL_CERT_FILE: expected a file of certificates in PEM format, got {file!r} ({error}); correct or unset it"
        ) from error


def _check_key_log() -> None:
    """Raise `ConfigError` if Python's `ssl` cannot write the file that SSLKEYLOGFILE names."""
    if log := os.environ.get("SSLKEYLOGFILE"):
        try:
            Path(log).open("a").close()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"SSLKEYLOGFILE: expected a file that can be written, got {log!r} ({error}); correct or unset it"
            ) from error
