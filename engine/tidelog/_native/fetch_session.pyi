"""Stub of the native fetch sessions (ext/tidelog/_native/fetch_session.pyx)."""

from random import Random

class FetchSession:
    session_id: int
    epoch: int
    uses_topic_ids: bool
    privileged: bool
    created_ms: int
    last_used_ms: int
    def __len__(self) -> int: ...
    def keys(self) -> list[tuple[bytes, int]]: ...

class FetchSessionCache:
    capacity: int
    eviction_ms: int
    partitions_max: int
    partition_count: int
    def __init__(
        self, capacity: int, eviction_ms: int, rng: Random, partitions_max: int = ...
    ) -> None: ...
    def __len__(self) -> int: ...
    def create_session(
        self, uses_topic_ids: bool, privileged: bool, now_ms: int
    ) -> FetchSession | None: ...
    def resume_session(
        self, session_id: int, epoch: int, uses_topic_ids: bool, now_ms: int
    ) -> tuple[FetchSession | None, int]: ...
