"""Listening sockets: made and kept by the supervisor, lent to workers.

Because the supervisor keeps them, a client that connects while a worker restarts waits in the
backlog and is not refused.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tidelog.config.listeners import Endpoint
from tidelog.errors import TidelogError


class ListenError(TidelogError):
    """An address cannot be listened on. The message is one line for the user."""


def listen(endpoint: Endpoint, backlog: int) -> socket.socket:
    """A listening, non-blocking socket. Host "" is every address, of both families where the
    system has them. Raises ListenError.
    """
    shown = f"{endpoint.host or '*'}:{endpoint.port}"
    try:
        family, address = _resolve(endpoint.host, endpoint.port)
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                only_6 = 0 if endpoint.host in ("", "::") else 1
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_6)
            sock.bind(address)
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(f"cannot listen on {shown}: {reason}") from error
    return sock


def listen_all(endpoints: Sequence[Endpoint], backlog: int) -> list[socket.socket]:
    """One socket for each endpoint, or ListenError and none."""
    sockets: list[socket.socket] = []
    try:
        for endpoint in endpoints:
            sockets.append(listen(endpoint, backlog))
    except ListenError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def port_of(sock: socket.socket) -> int:
    """The port that the socket got."""
    return int(sock.getsockname()[1])


def reachable_host(host: str) -> str:
    """A host by which a process of this machine reaches a socket bound to `host`."""
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    return "::1" if host == "::" else host


def known_host(host: str) -> str:
    """A host by which other machines reach a socket bound to `host`: this machine's name, if it is
    bound to every address.
    """
    return socket.getfqdn() if host in ("", "0.0.0.0", "::") else host


def host_and_port(host: str, port: int) -> str:
    """As in bootstrap.servers; an IPv6 address gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    if host == "":
        # Without IPv6 in the kernel (or switched off) the other family has to do.
        if socket.has_ipv6 and _ipv6_works():
            return socket.AF_INET6, ("::", port)
        return socket.AF_INET, ("0.0.0.0", port)
    # As bytes: a str would load the IDNA codec, which costs every start milliseconds.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name with addresses of both families (localhost) is taken by its IPv4 address, as clients
    # try it first.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
