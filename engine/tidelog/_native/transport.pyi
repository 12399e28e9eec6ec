"""Stub of the reactor (ext/tidelog/_native/transport.pyx)."""

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from typing import Any

from tidelog._native.connection import Connection
from tidelog._native.fetch_lane import FetchLane
from tidelog._native.produce_lane import ProduceLane
from tidelog._native.request_stats import RequestStats

class Transport:
    info: Any
    closed: bool
    requests: int
    writing: bool
    def go_on(self) -> int: ...
    paused: bool
    def mute(self, muted: bool) -> None: ...
    def pause(self, time_ms: int) -> None: ...

class Reactor:
    loop: AbstractEventLoop
    request_size_max: int
    other_request_size_max: int
    waiting_max: int
    queued_bytes_max: int
    unsent_bytes_max: int
    total_bytes_max: int
    total_bytes: int
    total_unsent_max: int
    total_unsent: int
    stats: RequestStats
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
        dispatch: Callable[[bytes, Any], bytes | Awaitable[bytes]],
        read_ahead: Callable[[int, int, int, Callable[[], None] | None], None],
        on_close: Callable[[Connection, str | None], None],
        request_size_max: int,
        other_request_size_max: int,
        waiting_max: int,
        queued_bytes_max: int,
        unsent_bytes_max: int,
        total_bytes_max: int,
        on_pressure: Callable[[], object],
        send_slice: int = ...,
        scratch_size: int = ...,
        create_task: Callable[..., Any] | None = None,
    ) -> None: ...
    @property
    def starving(self) -> bool: ...
    def still_pressed(self) -> bool: ...
    def flush_dirty(self) -> int: ...
