"""The HTTP client of one server, from its URL and the environment: proxies and certificates.

The variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR count, in either case where
that is usual (docs/reaching-a-teacher.md).

Invariant: requests to this machine never go through a proxy, which would get the API key.
"""

import os
import re
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from socket import inet_aton
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpx

from distill_worker.errors import ConfigError
from distill_worker.teachers.http_errors import public_url

_PORTS: Final = {"http": 80, "https": 443}
_PROXY_VARIABLES: Final = "the proxy in the environment (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY)"


def checked_url(text: str, source: str) -> str:
    """The URL of a server, without white space around it. `source` names it in messages.

    Raises:
        ConfigError: it is no URL of an HTTP server; the message does not show credentials.
    """
    url = text.strip()
    try:
        parsed = httpx.URL(url)
        is_valid = parsed.scheme in _PORTS and bool(parsed.host) and 0 < _port(parsed) < 2**16
    except httpx.InvalidURL:
        is_valid = False
    if not is_valid or any(letter.isspace() or not letter.isprintable() for letter in url):
        got = "another text with a user or password, which is not shown" if "@" in url else repr(public_url(url)[:200])
        raise ConfigError(f"{source}: expected a URL such as http://127.0.0.1:8000, got {got}")
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
    proxy = None if transport is not None else _proxy_for(base)
    is_encrypted = base.scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
    return httpx.Client(
        base_url=base,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        transport=transport,
        proxy=proxy,
        verify=_certificates() if is_encrypted and transport is None else True,
        trust_env=False,
        **options,
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    address = _address(host)
    if address is None:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(each.is_loopback or each.is_unspecified for each in (address, inner or address))


def _port(url: httpx.URL) -> int:
    return _PORTS[url.scheme] if url.port is None else url.port


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a host is written as; None if it is a name."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(inet_aton(host))  # short forms such as 127.1
    except (OSError, UnicodeEncodeError, ValueError):
        return None


def _proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The proxy between this machine and a server, if the environment names one."""
    proxies = getproxies()
    named = (proxies.get(url.scheme) or proxies.get("all") or "").strip()
    if not named or is_loopback(url.host) or _is_exempt(url, proxies.get("no", "")):
        return None
    shown = public_url(named)
    try:
        proxy = httpx.Proxy(named if "://" in named else f"http://{named}")
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"{_PROXY_VARIABLES}: expected http://HOST:PORT, got {shown!r}") from error
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigError(
            f"{_PROXY_VARIABLES}: expected an HTTP proxy, got {shown!r}. For a SOCKS proxy, install the package "
            f"socksio; if {url.host} needs no proxy, add it to NO_PROXY"
        )
    return proxy


def _is_exempt(url: httpx.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY names the server: by its name, a domain, its address, or a network of addresses."""
    if proxy_bypass(f"{url.host}:{_port(url)}"):
        return True
    address = _address(url.host)
    return address is not None and any(address in network for network in _networks(no_proxy))


def _networks(no_proxy: str) -> Iterator[IPv4Network | IPv6Network]:
    for entry in no_proxy.split(","):
        try:
            yield ip_network(re.sub(r"^\[(.*)\](:\d+)?$", r"\1", entry.strip()), strict=False)
        except ValueError:
            continue


def _certificates() -> ssl.SSLContext | bool:
    """The certificates that the environment names; True for those of the package `certifi`."""
    file, folders = os.environ.get("SSL_CERT_FILE", "").strip(), os.environ.get("SSL_CERT_DIR", "").strip()
    if not file and not folders:
        return True
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise ConfigError(f"SSL_CERT_DIR: expected a folder of certificates, got {folders!r}, which does not exist")
    try:
        return ssl.create_default_context(cafile=file or None, capath=folders or None)
    except (OSError, ValueError) as error:  # ssl.SSLError, too
        raise ConfigError(
            f"SSL_CERT_FILE: expected a file of certificates in PEM format, got {file!r} ({error}); correct or unset it"
        ) from error
