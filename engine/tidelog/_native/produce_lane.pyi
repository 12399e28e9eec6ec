"""Stub of the Produce lane (ext/tidelog/_native/produce_lane.pyx)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from tidelog._native.partition import Partition, PartitionTable
from tidelog._native.request import Gates

class AppendAnswer(Protocol):
    error_code: int
    base_offset: int
    last_offset: int
    log_append_time: int
    log_start_offset: int

class ProduceLane:
    table: PartitionTable
    gates: Gates
    def __init__(
        self,
        table: PartitionTable,
        gates: Gates,
        *,
        call_later: Callable[..., Any],
        create_task: Callable[..., Any],
        slow_append: Callable[[Partition, bytes, int], Awaitable[AppendAnswer]],
        reasons: Sequence[str],
    ) -> None: ...
