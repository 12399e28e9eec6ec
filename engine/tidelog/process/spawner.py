"""The supervisor's side of the zygote: orders out, reports in.

Runs on the supervisor's loop. It knows processes, not nodes.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from tidelog.errors import TidelogError
from tidelog.limits import ZYGOTE_FDS_MAX, ZYGOTE_MESSAGE_BYTES_MAX
from tidelog.process.zygote import (
    Exited,
    Spawn,
    Spawned,
    SpawnFailed,
    ZygoteHandle,
    decode_report,
    encode,
)


class SpawnError(TidelogError):
    """No process could be had."""


class SpawnerOwner(Protocol):
    """Who is told what happens to processes."""

    def process_exited(self, pid: int, status: int) -> None: ...

    def zygote_lost(self) -> None: ...


class Spawner:
    """See the module. `start` before anything else, `close` at the end."""

    def __init__(self, zygote: ZygoteHandle, owner: SpawnerOwner) -> None:
        self._zygote = zygote
        self._socket = zygote.socket
        self._owner = owner
        self._next_token = 0
        self._pending: dict[int, asyncio.Future[tuple[int, int]]] = {}

    def start(self) -> None:
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    async def spawn(
        self, title: str, control: socket.socket, rest: list[socket.socket]
    ) -> tuple[int, int]:
        """Starts a worker with these sockets; returns its pid and a pidfd, which is the caller's
        to close.

        Raises SpawnError. The sockets stay the caller's; the worker has copies.
        """
        fds = [control.fileno(), *(sock.fileno() for sock in rest)]
        if len(fds) > ZYGOTE_FDS_MAX:
            raise SpawnError(f"a worker gets at most {ZYGOTE_FDS_MAX - 1} listening sockets")
        token = self._next_token
        self._next_token += 1
        spawned: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._pending[token] = spawned
        try:
            socket.send_fds(self._socket, [encode(Spawn(token, title))], fds)
            return await spawned
        except OSError as error:
            raise SpawnError(f"the zygote takes no orders: {error.strerror}") from error
        finally:
            self._pending.pop(token, None)

    def close(self) -> int:
        """Ends the zygote and returns its exit status."""
        self._forget()
        return self._zygote.end()

    def _forget(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
        for spawned in self._pending.values():
            if not spawned.done():
                spawned.set_exception(SpawnError("the zygote is gone"))

    def _readable(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, ZYGOTE_MESSAGE_BYTES_MAX, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._forget()
                self._owner.zygote_lost()
                return
            self._report(data, fds)

    def _report(self, data: bytes, fds: list[int]) -> None:
        match decode_report(data):
            case Spawned(token, pid):
                spawned = self._pending.get(token)
                if spawned is not None and not spawned.done():
                    spawned.set_result((pid, fds[0]))
                else:
                    # Whoever ordered it has gone; its control socket is closed, which ends the
                    # worker.
                    socket.close(fds[0])
            case SpawnFailed(token, reason):
                spawned = self._pending.get(token)
                if spawned is not None and not spawned.done():
                    spawned.set_exception(SpawnError(f"no process could be started: {reason}"))
            case Exited(pid, status):
                self._owner.process_exited(pid, status)
