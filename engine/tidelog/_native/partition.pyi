"""Stub of the native partition module (ext/tidelog/_native/partition.pyx)."""

from collections.abc import Callable
from typing import Any

from tidelog._native.log import LogCore

NOT_LEADER: int
OFFLINE: int
LOADING: int
DELETED: int

class Waiter:
    pass

class CallbackWaiter(Waiter):
    def __init__(
        self, partition: Partition, offset: int, callback: Callable[[], object]
    ) -> None: ...
    def forget(self) -> None: ...

class Progress:
    def __init__(self, call_soon: Callable[..., Any] | None = None) -> None: ...
    def drain(self) -> int: ...

class Partition:
    topic: bytes
    topic_id: bytes
    index: int
    log: LogCore | None
    gates: int
    leader_id: int
    leader_epoch: int
    partition_epoch: int
    high_watermark: int
    local_end: int
    min_insync_replicas: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    bytes_in: int
    records_in: int
    bytes_out: int
    records_out: int
    def __init__(self, topic: bytes, topic_id: bytes, index: int, progress: Progress) -> None: ...
    def set_leadership(
        self,
        leader_id: int,
        leader_epoch: int,
        partition_epoch: int,
        replicas: tuple[int, ...],
        isr: tuple[int, ...],
    ) -> None: ...
    def open_as_leader(self, log: LogCore) -> None: ...
    def close(self, gates: int) -> None: ...
    def set_min_insync_replicas(self, value: int) -> None: ...
    def update_progress(self) -> int: ...
    @property
    def error_code(self) -> int: ...
    @property
    def is_leader(self) -> bool: ...
    @property
    def waiting_fetches(self) -> int: ...
    @property
    def waiting_produces(self) -> int: ...
    @property
    def stable_offset(self) -> int: ...
    def append_built(self, batch: bytearray, now_ms: int) -> tuple[int, int, int, int]: ...
    def is_acknowledged(self, last_offset: int) -> bool: ...
    def when_acknowledged(
        self, end_offset: int, callback: Callable[[], object]
    ) -> CallbackWaiter: ...

class TopicEntry:
    name: bytes
    topic_id: bytes
    partitions: list[Partition]
    internal: bool
    def __init__(self, name: bytes, topic_id: bytes, partitions: list[Partition]) -> None: ...

class PartitionTable:
    progress: Progress
    def __init__(self, progress: Progress) -> None: ...
    def put(self, entry: TopicEntry) -> None: ...
    def remove(self, name: bytes) -> None: ...
    def get(self, name: bytes) -> TopicEntry | None: ...
    def get_by_id(self, topic_id: bytes) -> TopicEntry | None: ...
    def partition(self, name: bytes, index: int) -> Partition | None: ...
    def topics(self) -> list[TopicEntry]: ...
