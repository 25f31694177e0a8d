"""Checks of every server before it answers: its port is its own, and no stranger's web page asks.

A server that listens on the loopback address is still within reach of web pages in the browser of its user: a page may
send a form to it, or give the loopback address a name of its own (DNS rebinding) and read the answer.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from paceline.core.errors import BackendError, ConfigError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that make a server of models do no work."""


def check_port(host: str, port: int) -> None:
    """Check that nobody listens where a server is about to.

    Servers such as vLLM's and Ray's bind with SO_REUSEPORT, so that a second one on a port is no error to them: both
    say that they serve, and share the requests.

    Raises:
        BackendError: Somebody listens there.
        ConfigError: This machine cannot listen there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # else closed connections count as well
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BackendError(
                f"another program listens on {host}:{port}; end it, or choose another --port"
            ) from None
        raise ConfigError(
            f"this machine cannot listen on {host}:{port} ({error}); --host is one of its addresses"
        ) from None


def is_cross_site(method: str, headers: Mapping[str, str], hosts: Collection[str] = ()) -> str | None:
    """Return why a request may be the doing of a stranger's web page, or None.

    A request must name this server by an address, by `localhost`, by the machine's name or by one of `hosts`: none of
    these can a page point elsewhere. What makes the server work must not come from a page of another origin.

    Args:
        method: The HTTP method.
        headers: By lower-case name.
        hosts: Further names of the server, such as that of a proxy before it.
    """
    host = headers.get("host", "")
    own = {"", "localhost", socket.gethostname().lower(), *(name.lower() for name in hosts)}
    name = _name(host)
    if name not in own and not _address(name):
        return f"this server is not known as {name[:100]!r}; ask it by its address, or start it with --allowed-host"
    if method in SAFE:
        return None
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") == "cross-site" and origin is None:
        return "web pages of other origins may not use this server"
    if origin is not None:
        netloc = urlsplit(origin).netloc if "://" in origin else ""
        if not netloc or (netloc.lower() != host.lower() and _name(netloc) not in set(hosts)):
            return "web pages of other origins may not use this server"
    return None


def _name(host: str) -> str:
    """Return a host without its port, brackets and last dot, in lower case."""
    bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return bare.lower().removesuffix(".")


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
