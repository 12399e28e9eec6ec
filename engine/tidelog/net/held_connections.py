"""Connections that came too fast for their address (KIP-612): kept open unserved for a while, since
who is closed at once only comes back at once.

Belongs to the server's loop task.
"""

from __future__ import annotations

import asyncio
import socket

from tidelog.limits import HELD_CONNECTIONS_MAX


class HeldConnections:
    """See the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: dict[socket.socket, asyncio.TimerHandle] = {}

    def hold(self, accepted: socket.socket, time_ms: int) -> None:
        """Close the socket after that time; at once when too many are held."""
        if len(self._held) >= HELD_CONNECTIONS_MAX:
            accepted.close()
            return
        self._held[accepted] = self._loop.call_later(time_ms / 1000, self._let_go, accepted)

    def close(self) -> None:
        """Close all of them."""
        for accepted in list(self._held):
            self._let_go(accepted)

    def _let_go(self, accepted: socket.socket) -> None:
        self._held.pop(accepted).cancel()
        accepted.close()
