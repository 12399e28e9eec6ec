"""Scripted peers and kio-made answers for the tests of the load generator."""

import datetime
import importlib
import io
import socket
import struct
import threading
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

from tidelog.benchmarks.batches import Batch, encode_batch, sized_batch
from tidelog.benchmarks.requests import Template, produce_request

NOW_MS = 1_700_000_000_000
TOPIC_ID = uuid.UUID(int=77)


def encode(message: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(message))(buffer, message)
    return buffer.getvalue()


def build(cls: Any, **values: Any) -> Any:
    """An object of a kio class from those of the values that its version has."""
    names = {field.name for field in fields(cls)}
    return cls(**{name: value for name, value in values.items() if name in names})


def header_tags(version: int, first_flexible: int) -> bytes:
    return b"\0" if version >= first_flexible else b""


def kio_produce_response(
    version: int, parts: list[list[tuple[int, int, int]]], throttle_ms: int = 0
) -> bytes:
    """parts: per topic, (partition, error_code, base_offset)."""
    m = importlib.import_module(f"kio.schema.produce.v{version}.response")
    topics = tuple(
        build(
            m.TopicProduceResponse,
            name=f"topic-{i}",
            topic_id=TOPIC_ID,
            partition_responses=tuple(
                build(
                    m.PartitionProduceResponse,
                    index=partition,
                    error_code=ErrorCode(error_code),
                    base_offset=base_offset,
                    log_append_time=None,
                    log_start_offset=3,
                    record_errors=(
                        build(
                            getattr(m, "BatchIndexAndErrorMessage", None),
                            batch_index=4,
                            batch_index_error_message="bad",
                        ),
                    )
                    if error_code and version >= 8
                    else (),
                    error_message="worse" if error_code else None,
                )
                for partition, error_code, base_offset in partitions
            ),
        )
        for i, partitions in enumerate(parts)
    )
    throttle = datetime.timedelta(milliseconds=throttle_ms)
    return header_tags(version, 9) + encode(
        build(m.ProduceResponse, responses=topics, throttle_time=throttle)
    )


def kio_fetch_response(
    version: int, parts: list[list[tuple[int, int, int, bytes | None]]], error_code: int = 0
) -> bytes:
    """parts: per topic, (partition, error_code, high_watermark, records)."""
    m = importlib.import_module(f"kio.schema.fetch.v{version}.response")
    aborted = (m.AbortedTransaction(producer_id=1, first_offset=2),)
    topics = tuple(
        build(
            m.FetchableTopicResponse,
            topic=f"topic-{i}",
            topic_id=TOPIC_ID,
            partitions=tuple(
                build(
                    m.PartitionData,
                    partition_index=partition,
                    error_code=ErrorCode(code),
                    high_watermark=high_watermark,
                    last_stable_offset=high_watermark,
                    log_start_offset=5,
                    current_leader=m.LeaderIdAndEpoch(leader_id=9, leader_epoch=8)
                    if version >= 12 and code
                    else None,
                    aborted_transactions=aborted if partition % 2 else None,
                    preferred_read_replica=-1,
                    records=records,
                )
                if not (version >= 12 and not code)
                else build_without_leader(m, partition, high_watermark, aborted, records)
                for partition, code, high_watermark, records in partitions
            ),
        )
        for i, partitions in enumerate(parts)
    )
    return header_tags(version, 12) + encode(
        build(
            m.FetchResponse,
            throttle_time=datetime.timedelta(0),
            error_code=ErrorCode(error_code),
            session_id=0,
            responses=topics,
        )
    )


def build_without_leader(
    m: Any, partition: int, high_watermark: int, aborted: Any, records: bytes | None
) -> Any:
    return build(
        m.PartitionData,
        partition_index=partition,
        error_code=ErrorCode(0),
        high_watermark=high_watermark,
        last_stable_offset=high_watermark,
        log_start_offset=5,
        aborted_transactions=aborted if partition % 2 else None,
        preferred_read_replica=-1,
        records=records,
    )


Answer = Callable[[int, bytes], bytes | None]


class Peer:
    """A server in a thread. `answer` maps (index of the request, frame without its length) to what
    is sent back (with length prefix), or None to close the connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.frames: list[bytes] = []
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        self.clients: list[socket.socket] = []

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.address)
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            index = 0
            try:
                while prefix := stream.read(4):
                    frame = stream.read(struct.unpack(">i", prefix)[0])
                    with self._lock:
                        self.frames.append(frame)
                    answer = self._answer(index, frame)
                    index += 1
                    if answer is None:
                        return
                    connection.sendall(answer)
            except OSError:
                return


@contextmanager
def peer(answer: Answer) -> Iterator[Peer]:
    it = Peer(answer)
    try:
        yield it
    finally:
        it.close()


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def correlation(frame: bytes) -> bytes:
    return frame[4:8]


def produce_ok(index: int, frame: bytes) -> bytes:
    return framed(correlation(frame) + kio_produce_response(9, [[(0, 0, index)]]))


def plain_template(size: int = 255, partition: int = 0) -> Template:
    batch = sized_batch(size, NOW_MS, record_bytes=max(100, size // 2))
    return produce_request(9, {"t": {partition: batch}})


def read_produce_request(frame: bytes) -> Any:
    from kio.schema.produce.v9.request import ProduceRequest
    from kio.schema.request_header.v2.header import RequestHeader

    header, size = entity_reader(RequestHeader)(frame, 0)
    request, length = entity_reader(ProduceRequest)(frame, size)
    assert size + length == len(frame)
    return header, request


def stamped(batch: Batch, base_offset: int) -> bytes:
    return struct.pack(">q", base_offset) + batch.data[8:]


class Log:
    """A partition of a scripted peer: batches of growing size."""

    def __init__(self, batches: int, records: int = 3, size: int = 700) -> None:
        self.bases: list[int] = []
        self.data: list[bytes] = []
        self.end = 0
        for number in range(batches):
            batch = encode_batch([bytes(size + number)] * records, NOW_MS)
            self.bases.append(self.end)
            self.data.append(stamped(batch, self.end))
            self.end += records

    def read(self, offset: int, max_bytes: int) -> bytes:
        """From the batch that holds the offset, cut off at max_bytes but never before one batch."""
        start = bisect_right(self.bases, offset) - 1
        if offset >= self.end:
            return b""
        return b"".join(self.data[start:])[: max(max_bytes, len(self.data[start]))]
