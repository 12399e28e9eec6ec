"""Leaders and followers on the test's loop: real logs in folders, a real leader's lanes on a
listening socket, or a leader that is scripted frame by frame.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.native.lane_harness import Node
from tests.unit.storage.log_fixtures import VERSION, FaultyFiles
from tidelog._native.connection import Connection
from tidelog._native.followers import ClusterView, FollowerTable
from tidelog._native.log import STATUS_NEEDS_ROLL
from tidelog._native.partition import Partition, TopicEntry
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import NodeRecord
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_request, encode_response_frame
from tidelog.protocol.headers import parse_request_header
from tidelog.protocol.messages.fetch import FetchRequest, FetchResponse
from tidelog.replication.fetcher import FetcherManager
from tidelog.storage.loader import LoadRequest, load_log
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import LogServices, segment_settings

LEADER, FOLLOWER = 1, 2
NODE_EPOCH = 77


def topic_id_of(name: str) -> bytes:
    return hashlib.md5(name.encode()).digest()


@dataclass(frozen=True)
class Config:
    """What fetchers ask of a broker's configs; short times."""

    num_replica_fetchers: int = 1
    replica_fetch_backoff_ms: int = 20
    replica_fetch_max_bytes: int = 1 << 20
    replica_fetch_min_bytes: int = 1
    replica_fetch_response_max_bytes: int = 10 << 20
    replica_fetch_wait_max_ms: int = 5
    replica_socket_receive_buffer_bytes: int = -1
    replica_socket_timeout_ms: int = 10_000
    socket_request_max_bytes: int = 1 << 20


class Followee:
    """Stands for a Partition of which this node is a follower."""

    def __init__(self, held: PartitionLog, leader_id: int = LEADER, leader_epoch: int = 0) -> None:
        self.held = held
        self.topic = held.topic.encode()
        self.topic_id = held.topic_id
        self.index = held.index
        self.leader_id = leader_id
        self.leader_epoch = leader_epoch
        self.high_watermark = 0
        self.appends = 0
        self.throttle: Any = None

        self._moved = asyncio.Event()

    def set_follower_high_watermark(self, high_watermark: int) -> None:
        self.high_watermark = min(high_watermark, self.held.core.log_end_offset)
        self._moved.set()

    def follower_appended(self) -> None:
        self.appends += 1
        self._moved.set()


class Logs:
    """Logs of one node in folders below `directory`."""

    def __init__(self, directory: Path, **overrides: str) -> None:
        self.directory = directory
        self.files = FaultyFiles()
        self.executor = ThreadPoolExecutor(2)
        self.clock = ManualClock()
        self.checkpoints = 0
        self.config = self.configure(overrides)
        self.opened: list[PartitionLog] = []

    @staticmethod
    def configure(overrides: Mapping[str, str]) -> TopicConfig:
        names = {name.replace("_", "."): value for name, value in overrides.items()}
        return TopicConfig.resolve({"message.timestamp.after.max.ms": str(2**62)} | names)

    async def _checkpoint(self) -> None:
        self.checkpoints += 1

    def open(self, topic: str = "t", index: int = 0, **request: Any) -> PartitionLog:
        folder = self.directory / f"{topic}-{index}"
        folder.mkdir(parents=True, exist_ok=True)
        loaded = load_log(
            self.files,
            LoadRequest(
                str(folder), segment_settings(self.config), self.clock.wall_ms(), **request
            ),
        )
        services = LogServices(
            self.files, self.executor, self.clock, random.Random(7), checkpoint=self._checkpoint
        )
        held = PartitionLog(
            topic, topic_id_of(topic), index, str(folder), self.config, loaded, services
        )
        self.opened.append(held)
        return held

    async def produce(self, held: PartitionLog, data: bytes | bytearray, epoch: int = 0) -> int:
        """Returns the base offset."""
        while True:
            status, code, base, *_ = held.core.produce(
                bytearray(data), epoch, VERSION, self.clock.wall_ms()
            )
            if status != STATUS_NEEDS_ROLL:
                assert code == 0, code
                return base
            await held.roll()

    async def append(self, held: PartitionLog, data: bytes | bytearray) -> None:
        """As a follower does: offsets and epochs stay."""
        done = 0
        while done < len(data):
            status, code, *_, consumed = held.core.append_fetched(
                memoryview(data)[done:], self.clock.wall_ms()
            )
            if status == STATUS_NEEDS_ROLL:
                await held.roll()
                continue
            assert code == 0, code
            done += consumed

    async def close(self) -> None:
        self.files.held.clear()
        self.files.errors.clear()
        self.files.let_go.release(100)
        for held in self.opened:
            await held.close(clean=False)
        self.executor.shutdown()


class LeaderNode:
    """A leader as a broker serves it: the fetch lane on a listening socket."""

    def __init__(self, directory: Path) -> None:
        self.node = Node(directory)
        self.view = ClusterView(30_000, lambda *_: None)
        self.connections: list[Connection] = []
        self.listener = listening()
        self.port: int = self.listener.getsockname()[1]
        self.node.loop.add_reader(self.listener, self._accept)

    def _accept(self) -> None:
        accepted, _ = self.listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections.append(Connection(self.node.reactor, accepted, "peer"))

    def lead(self, topic: str, logs: list[PartitionLog], epoch: int = 0) -> list[Partition]:
        """Serve these logs as the partitions 0.. of a topic."""
        partitions = []
        for held in logs:
            partition = Partition(
                topic.encode(), topic_id_of(topic), held.index, self.node.progress
            )
            partition.set_leadership(LEADER, epoch, epoch, (LEADER, FOLLOWER), (LEADER,))
            held.assign_epoch(epoch)
            held.on_progress = partition.update_progress
            partition.open_as_leader(held.core, 0, self.view)
            partitions.append(partition)
        self.node.table.put(TopicEntry(topic.encode(), topic_id_of(topic), partitions))
        return partitions

    def table(self, index: int, topic: str = "t") -> FollowerTable:
        """What the leader knows of the partition's followers."""
        partition = self.node.table.partition(topic.encode(), index)
        assert partition is not None
        assert partition.followers is not None
        return partition.followers

    def drop_connections(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def close(self) -> None:
        self.node.loop.remove_reader(self.listener)
        self.listener.close()
        self.drop_connections()


def listening() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


#: (correlation id, request, version) -> the answer, None for none, b"" to end the connection.
Script = Callable[[int, FetchRequest], "FetchResponse | bytes | None"]


class ScriptedLeader:
    """Answers as it is told. `seen`: every request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[FetchRequest] = []
        self.versions: set[int] = set()
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
                header = parse_request_header(frame)
                assert header.api_key == ApiKey.FETCH
                request = decode_request(
                    header.api_key, header.api_version, frame, header.body_offset
                )
                assert isinstance(request, FetchRequest)
                self.seen.append(request)
                self.versions.add(header.api_version)
                answer = self.script(header.correlation_id, request)
                if answer == b"":
                    return
                if isinstance(answer, FetchResponse):
                    answer = encode_response_frame(
                        answer, header.api_version, header.correlation_id
                    )
                if answer is not None:
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def send(self, frame: bytes) -> None:
        """To everybody."""
        for writer in self._writers:
            writer.write(frame)
            await writer.drain()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()


def image_of(nodes: Mapping[int, int], *, fenced: bool = False, epoch: int = 1) -> MetadataImage:
    """Node id -> port of its internal listener."""
    return MetadataImage.from_records(
        [
            NodeRecord(node_id, epoch, None, (), "127.0.0.1", port, fenced=fenced)
            for node_id, port in nodes.items()
        ],
        epoch,
    )


async def no_offsets(partition: Any) -> tuple[int, int]:
    raise AssertionError("the leader's offsets are not needed")


def manager(
    port: int,
    config: Config | None = None,
    leader_offsets: Any = no_offsets,
    node_epoch: int = NODE_EPOCH,
) -> FetcherManager:
    made = FetcherManager(
        FOLLOWER,
        lambda: node_epoch,
        config or Config(),
        leader_offsets,
        ManualClock(),
        random.Random(5),
    )
    made.nodes_changed(image_of({LEADER: port}))
    return made


def content(held: PartitionLog) -> bytes:
    """All record batches of a log, without regard to its segments."""
    return b"".join(
        segment.read_at(0, segment.size) for segment in held.core.segment_list if segment.size
    )


async def until(condition: Callable[[], object]) -> None:
    """Waits, within the test's timeout, until condition() holds."""
    while not condition():
        await asyncio.sleep(0.001)
