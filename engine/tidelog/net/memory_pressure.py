"""Which connections give memory back when the process holds as much as it may.

Backpressure alone does not help then: who holds the memory may be a peer that never goes on. Asked
by the server's loop task, at a bounded rate and only under pressure; closes nothing itself. It must
never name a connection that only waits for us.
"""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from collections.abc import Collection
from typing import Final

from tidelog._native.connection import Connection
from tidelog.limits import SPARED_BYTES, STALLED_MS

_INT: Final = struct.Struct("i")


def gone(connections: Collection[Connection]) -> list[Connection]:
    """Those whose peer has ended the connection unnoticed, because nothing is received from it."""
    unheard = {one.fd: one for one in connections if not one.listens}
    if not unheard:
        return []
    poll = select.poll()
    for fd in unheard:
        poll.register(fd, select.POLLRDHUP)
    return [unheard[fd] for fd, _ in poll.poll(0)]


def parked(connections: Collection[Connection], now_ms: int) -> list[Connection]:
    """Those that hold memory for requests that wait for data."""
    return [one for one in _holders(connections, now_ms) if not one.waits_for_peer]


def stalled(connections: Collection[Connection], now_ms: int) -> list[Connection]:
    """Those that hold memory and whose peers have not gone on; who has held most for longest comes
    first.

    A client on a slow line may be among them; it comes again.
    """
    found = [
        one for one in _holders(connections, now_ms) if one.waits_for_peer and _has_stopped(one)
    ]
    return sorted(
        found,
        key=lambda one: one.queued_bytes * (now_ms - one.last_progress_ms),
        reverse=True,
    )


def _holders(connections: Collection[Connection], now_ms: int) -> list[Connection]:
    return [
        one
        for one in connections
        if one.queued_bytes > SPARED_BYTES and now_ms - one.last_progress_ms >= STALLED_MS
    ]


def _has_stopped(connection: Connection) -> bool:
    """False when the kernel holds more of its request: then it waits for room as others do."""
    if connection.writing or connection.listens:
        return True
    waiting = fcntl.ioctl(connection.fd, termios.FIONREAD, bytes(_INT.size))
    return bool(_INT.unpack(waiting)[0] == 0)
