"""Stub of the native follower's end of Fetch (ext/tidelog/_native/replica_fetch.pyx)."""

from typing import Any

from tidelog._native.log import LogCore

RECEIVED_PART: int
RECEIVED_ANSWER: int
RECEIVED_END: int

class FetchedPart:
    topic_id: bytes
    index: int
    core: LogCore
    owner: Any
    current_leader_epoch: int
    fetch_offset: int
    last_fetched_epoch: int
    follower_log_start_offset: int
    follower_high_watermark: int
    active: bool
    error_code: int
    high_watermark: int
    log_start_offset: int
    diverging_epoch: int
    diverging_end_offset: int
    leader_id: int
    leader_epoch: int
    records_position: int
    records_size: int
    refused_base_offset: int
    refused_last_offset: int
    def __init__(
        self,
        topic_id: bytes,
        index: int,
        core: LogCore,
        current_leader_epoch: int,
        owner: object = None,
    ) -> None: ...

class ReplicaFetch:
    active_count: int
    session_id: int
    session_epoch: int
    sent: int
    answered: int
    bytes_received: int
    throttle_time_ms: int
    error_code: int
    def __init__(
        self,
        *,
        api_version: int,
        client_id: bytes,
        node_id: int,
        node_epoch: int,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
        partition_max_bytes: int,
        answer_bytes_max: int,
    ) -> None: ...
    def add(self, part: FetchedPart) -> None: ...
    def remove(self, part: FetchedPart) -> None: ...
    def ask(
        self,
        part: FetchedPart,
        fetch_offset: int,
        last_fetched_epoch: int,
        log_start_offset: int,
        high_watermark: int,
    ) -> None: ...
    def pause(self, part: FetchedPart) -> None: ...
    def parts(self) -> list[FetchedPart]: ...
    @property
    def may_send(self) -> bool: ...
    def next_request(self) -> bytes: ...
    def reset(self) -> None: ...
    def receive(self, fd: int) -> int: ...
    def room(self) -> memoryview: ...
    def received(self, n: int) -> bool: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def buffer_bytes(self) -> int: ...
    def take_answer(self) -> list[FetchedPart]: ...
    def done(self) -> bool: ...
    def append(self, part: FetchedPart, now_ms: int) -> int: ...
