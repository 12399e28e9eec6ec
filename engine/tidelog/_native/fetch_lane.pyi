"""Stub of the Fetch lane (ext/tidelog/_native/fetch_lane.pyx)."""

from collections.abc import Callable
from typing import Any

from tidelog._native.fetch_session import FetchSessionCache
from tidelog._native.partition import PartitionTable
from tidelog._native.request import Gates

class FetchLane:
    table: PartitionTable
    gates: Gates
    sessions: FetchSessionCache
    max_bytes: int
    def __init__(
        self,
        table: PartitionTable,
        gates: Gates,
        sessions: FetchSessionCache,
        *,
        max_bytes: int,
        call_later: Callable[..., Any],
    ) -> None: ...
