"""A node in miniature for the native lanes: real LogCore and files, a loop, a socket pair; no
controller, no handlers.

The partition's owner makes segments as storage/log.py does, but in line.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tidelog._native.connection import Connection
from tidelog._native.fetch_lane import FetchLane
from tidelog._native.fetch_session import FetchSessionCache
from tidelog._native.log import LogCore
from tidelog._native.partition import Partition, PartitionTable, Progress, TopicEntry
from tidelog._native.produce_lane import ProduceLane
from tidelog._native.producer_state import ProducerStates
from tidelog._native.request import Gates
from tidelog._native.transport import Reactor
from tidelog.net.tasks import Tasks
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.record.reasons import REASONS
from tidelog.record.recompress import explain
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import SegmentSettings, create_segment

NOW_MS = 1_700_000_000_000


def topic_id_of(name: str) -> bytes:
    return hashlib.md5(name.encode()).digest()


def batch(
    values: list[bytes], *, compression: int = 0, producer: tuple[int, int, int] = (-1, -1, -1)
) -> bytes:
    """One record batch by aiokafka's builder: an independent one."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
        batch_size=1 << 24,
    )
    for i, value in enumerate(values):
        assert builder.append(i, NOW_MS + i, b"key", value, []) is not None
    return bytes(builder.build())


class Owner:
    """Stands for storage.log.PartitionLog."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self.directory = directory
        self.core = LogCore(ProducerStates(), self)
        self.core.configure(segment_bytes=segment_bytes)
        self.rolls = 0
        self.waiting_rolls = 0
        self.flush_requests = 0
        self.aborted: list[tuple[int, int, int]] = []
        self.hold_roll: asyncio.Event | None = None

    async def roll(self) -> None:
        if self.hold_roll is not None:
            self.waiting_rolls += 1
            await self.hold_roll.wait()
            self.waiting_rolls -= 1
            if not self.core.roll_wanted:
                return
        base_offset = self.core.begin_roll()
        segment = create_segment(
            SYSTEM_FILES, str(self.directory), base_offset, SegmentSettings(), NOW_MS
        )
        self.core.install_segment(segment)
        self.core.end_roll()
        self.rolls += 1

    def request_flush(self) -> None:
        self.flush_requests += 1

    def on_epoch(self, epoch: int, start_offset: int) -> None:
        self.core.set_leader_epoch(epoch)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int] | None:
        return None

    def on_aborted_transaction(self, producer_id: int, first_offset: int, marker: int) -> None:
        self.aborted.append((producer_id, first_offset, marker))


class Node:
    """Topics with logs under `directory`, served to socket pairs."""

    def __init__(self, directory: Path, **limits: Any) -> None:
        self.directory = directory
        self.loop = asyncio.get_running_loop()
        self.progress = Progress(self.loop.call_soon)
        self.table = PartitionTable(self.progress)
        self.gates = Gates()
        self.closed: list[str | None] = []
        self.cold: list[tuple[int, int, int]] = []
        self.slow_append: Any = None
        #: Of record.recompress: what `explain` is told of every log.
        self.limits: Any = (2**31 - 1, 2**63 - 1, 2**63 - 1, False, False, -1)
        self.tasks = Tasks(self.loop)
        self.dispatch: Callable[[bytes, Any], Any] = self._dispatch
        self.on_pressure: Callable[[], object] = lambda: None
        self.sessions = FetchSessionCache(
            limits.pop("session_slots", 1000),
            120_000,
            random.Random(1),
            limits.pop("session_partitions", 1_000_000),
        )
        self.reactor = Reactor(
            self.loop,
            ProduceLane(
                self.table,
                self.gates,
                call_later=self.loop.call_later,
                create_task=self.tasks.start,
                slow_append=self._slow_append,
                explain=lambda partition, records, now_ms: explain(
                    records, now_ms=now_ms, limits=self.limits
                ),
                reasons=REASONS,
            ),
            FetchLane(
                self.table,
                self.gates,
                self.sessions,
                max_bytes=57_671_680,
                call_later=self.loop.call_later,
            ),
            dispatch=lambda frame, info: self.dispatch(frame, info),
            read_ahead=self._read_ahead,
            on_pressure=lambda: self.on_pressure(),
            on_close=lambda connection, reason: self.closed.append(reason),
            create_task=self.tasks.start,
            **{
                "request_size_max": 16 << 20,
                "other_request_size_max": 16 << 20,
                "waiting_max": 100,
                "queued_bytes_max": 64 << 20,
                "unsent_bytes_max": 64 << 10,
                "total_bytes_max": 1 << 30,
            }
            | limits,
        )

    def topic(
        self, name: str, partitions: int = 1, *, segment_bytes: int = 1 << 30, leader: bool = True
    ) -> TopicEntry:
        entry_partitions = []
        topic_id = topic_id_of(name)
        for index in range(partitions):
            partition = Partition(name.encode(), topic_id, index, self.progress)
            partition.set_leadership(1, 0, 0, (1,), (1,))
            if leader:
                folder = self.directory / f"{name}-{index}"
                folder.mkdir()
                partition.open_as_leader(Owner(folder, segment_bytes).core)
            entry_partitions.append(partition)
        entry = TopicEntry(name.encode(), topic_id, entry_partitions)
        self.table.put(entry)
        return entry

    def connect(self) -> Client:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = Connection(self.reactor, ours, "peer")
        return Client(self.loop, theirs, connection)

    def _dispatch(self, frame: bytes, info: Any) -> bytes:
        """Echo: the frame as its own answer."""
        return struct.pack(">i", len(frame)) + frame

    async def _slow_append(self, partition: Partition, records: Any, version: int) -> Any:
        return await self.slow_append(partition, records, version)

    def _read_ahead(
        self, fd: int, position: int, size: int, callback: Callable[[], None] | None
    ) -> None:
        self.cold.append((fd, position, size))
        self.loop.call_soon(callback)


class Client:
    """The other end of a socket pair; requests by our tables, which their own oracles check."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, connection: Connection
    ) -> None:
        self.loop = loop
        self.socket = sock
        self.connection = connection
        self.correlation_id = 0

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def receive_exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            got = await asyncio.wait_for(self.loop.sock_recv(self.socket, n - len(data)), 10)
            if not got:
                raise ConnectionResetError(f"closed after {len(data)} of {n} bytes")
            data += got
        return data

    async def receive_frame(self) -> bytes:
        (size,) = struct.unpack(">i", await self.receive_exactly(4))
        return await self.receive_exactly(size)

    async def is_closed(self) -> bool:
        try:
            return await asyncio.wait_for(self.loop.sock_recv(self.socket, 1), 10) == b""
        except ConnectionResetError:
            return True

    def encode(self, request: Any, version: int) -> bytes:
        self.correlation_id += 1
        return encode_request_frame(request, version, self.correlation_id, "test")

    async def answer(self, key: ApiKey, version: int, expected_correlation_id: int) -> Any:
        correlation_id, message = decode_response(key, version, await self.receive_frame())
        assert correlation_id == expected_correlation_id
        return message

    async def ask(self, request: Any, version: int) -> Any:
        await self.send(self.encode(request, version))
        return await self.answer(request.API, version, self.correlation_id)
