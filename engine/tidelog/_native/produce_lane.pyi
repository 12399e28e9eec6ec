"""Stub of the Produce lane (ext/tidelog/_native/produce_lane.pyx)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from tidelog._native.partition import Partition, PartitionTable
from tidelog._native.request import Gates

class AppendAnswer(Protocol):
    @property
    def error_code(self) -> int: ...
    @property
    def base_offset(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    @property
    def log_append_time(self) -> int: ...
    @property
    def log_start_offset(self) -> int: ...

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
        slow_append: Callable[[Partition, Callable[[], bytes], int], Awaitable[AppendAnswer]],
        explain: Callable[[Partition, bytes, int], Sequence[tuple[int, str]]],
        reasons: Sequence[str],
    ) -> None: ...
