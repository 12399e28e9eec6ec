"""Stub of the native transport (ext/tidelog/_native/connection.pyx)."""

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from socket import socket
from typing import Any

from tidelog._native.fetch_lane import FetchLane
from tidelog._native.produce_lane import ProduceLane

class Reactor:
    loop: AbstractEventLoop
    request_size_max: int
    waiting_max: int
    queued_bytes_max: int
    total_bytes_max: int
    total_bytes: int
    requests: int
    bytes_in: int
    bytes_out: int
    cold_reads: int
    def __init__(
        self,
        loop: AbstractEventLoop,
        produce: ProduceLane,
        fetch: FetchLane,
        *,
        dispatch: Callable[[bytes, Any], bytes | Awaitable[bytes | None] | None],
        read_ahead: Callable[[int, int, int, Callable[[], None]], None],
        on_close: Callable[[Connection, str | None], None],
        request_size_max: int,
        waiting_max: int,
        queued_bytes_max: int,
        total_bytes_max: int,
        send_slice: int = ...,
        scratch_size: int = ...,
    ) -> None: ...
    def flush_dirty(self) -> int: ...

class Connection:
    fd: int
    info: Any
    closed: bool
    last_active_ms: int
    requests: int
    def __init__(self, reactor: Reactor, socket: socket, info: Any) -> None: ...
    def on_readable(self) -> None: ...
    def on_writable(self) -> None: ...
    def mute(self, muted: bool) -> None: ...
    def go_on(self) -> None: ...
    def close(self, reason: str | None = None) -> None: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def idle(self) -> bool: ...
