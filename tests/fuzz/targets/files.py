"""Fuzz target: the readers of small files, of settings and of stored records, by themselves.

Input: one byte for the reader (READERS), then the content. Faster than opening a directory, and so
further into each format.

Must hold: a value or the format's own error; and what was read is written and reads the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import msgspec

from tidelog._native.crc32c import crc32c
from tidelog._native.producer_state import ProducerStates
from tidelog.config import BrokerConfig, ConfigValueError
from tidelog.config.properties import ConfigFileError
from tidelog.metadata.records import ClusterRecord, TopicRecord, decode_record, encode_record
from tidelog.metadata.records import is_removal as is_removed
from tidelog.process.broker import BrokerOptions, log_directories, make_slots, resolve_static
from tidelog.process.node_plan import PlanError, plan_nodes
from tidelog.storage.checkpoints import MalformedFileError, decode_offsets, encode_offsets
from tidelog.storage.clean_shutdown import decode_clean_shutdown, encode_clean_shutdown
from tidelog.storage.leader_epochs import EpochEntry, LeaderEpochCache
from tidelog.storage.meta_properties import (
    MetaProperties,
    decode_meta_properties,
    encode_meta_properties,
)
from tidelog.storage.partition_metadata import (
    decode_partition_metadata,
    encode_partition_metadata,
)
from tidelog.storage.producer_snapshot import (
    CorruptSnapshotError,
    decode_snapshot,
    encode_snapshot,
)
from tidelog.storage.txn_index import AbortedTxn, CorruptTxnIndexError, decode_txns, encode_txn

MAX_INPUT_BYTES = 4096
NOW_MS = 1_700_000_000_000
PROPERTIES = b"""# as Apache Kafka's
node.id=3
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
controller.listener.names=CONTROLLER
advertised.listeners=PLAINTEXT://localhost:9092
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=/tmp/kraft\\u002dlogs
num.partitions = 1
log.retention.hours: 168
socket.request.max.bytes 104857600
group.initial.rebalance.delay.ms=\\
    0
"""


def _offsets(data: bytes) -> None:
    found = decode_offsets(data, "f")
    assert decode_offsets(encode_offsets(found), "f") == found


def _epochs(data: bytes) -> None:
    cache = LeaderEpochCache.decode(data, "f")
    entries = cache.entries
    assert entries == sorted(entries) and len({e.start_offset for e in entries}) == len(entries)
    assert LeaderEpochCache.decode(cache.encode(), "f").entries == entries


def _partition(data: bytes) -> None:
    topic_id = decode_partition_metadata(data, "f")
    assert decode_partition_metadata(encode_partition_metadata(topic_id), "f") == topic_id


def _meta(data: bytes) -> None:
    meta = decode_meta_properties(data, "f")
    assert decode_meta_properties(encode_meta_properties(meta, NOW_MS), "f") == meta


def _snapshot(data: bytes) -> None:
    if len(data) > 10:
        data = data[:2] + crc32c(data[6:]).to_bytes(4, "big") + data[6:]
    entries = decode_snapshot(data, "f")
    states = ProducerStates()
    states.load(entries, 1000)
    again = decode_snapshot(encode_snapshot(states.dump_bytes()), "f")
    assert sorted(again) == sorted(states.dump())
    states.expire(NOW_MS, 1000)
    states.on_log_start_offset(500)


def _transactions(data: bytes) -> None:
    found = decode_txns(data, "f")
    assert decode_txns(b"".join(encode_txn(txn) for txn in found), "f") == found


def _shutdown(data: bytes) -> None:
    epoch = decode_clean_shutdown(data)
    assert epoch is None or decode_clean_shutdown(encode_clean_shutdown(epoch)) == epoch


def _record(data: bytes) -> None:
    record = decode_record(data.decode("utf-8", "replace"))  # a store has text
    if not is_removed(record):
        assert decode_record(encode_record(record)) == record
    assert all(isinstance(part, str) for part in record.store_key)


def _properties(data: bytes) -> None:
    """All that a start makes of its configs, up to the first thing that is opened."""
    try:
        options = BrokerOptions(properties=data.decode(), listen="127.0.0.1:0")
    except UnicodeDecodeError:
        return  # refused by serve.read_properties
    static = resolve_static(options)
    config = BrokerConfig.resolve(static.layers)
    os.fsencode(log_directories(options, static, config)[0])
    plan = plan_nodes((), None, None, 2)
    assert len(make_slots(plan.node_ids, static, config)) == 2


#: Reader, its errors, a good content.
READERS: tuple[tuple[Callable[[bytes], None], tuple[type[Exception], ...], bytes], ...] = (
    (_offsets, (MalformedFileError,), encode_offsets({("t", n): n * 9 for n in range(3)})),
    (
        _epochs,
        (MalformedFileError,),
        LeaderEpochCache([EpochEntry(n, n * 10) for n in range(3)]).encode(),
    ),
    (_partition, (MalformedFileError,), encode_partition_metadata(bytes(range(16)))),
    (
        _meta,
        (MalformedFileError,),
        encode_meta_properties(MetaProperties("c:\u00e9\U0001f600", 1, bytes(range(16))), NOW_MS),
    ),
    (
        _snapshot,
        (CorruptSnapshotError,),
        encode_snapshot([(n, 0, 1, 2 + n, 0, NOW_MS, 5, -1) for n in range(3)]),
    ),
    (
        _transactions,
        (CorruptTxnIndexError,),
        b"".join(encode_txn(AbortedTxn(1, n * 10, n * 10 + 5, 1)) for n in range(3)),
    ),
    (_shutdown, (MalformedFileError,), encode_clean_shutdown(9)),
    (_record, (msgspec.MsgspecError,), encode_record(ClusterRecord("c" * 22))),
    (_properties, (ConfigFileError, ConfigValueError, PlanError), PROPERTIES),
)


def run(data: bytes) -> None:
    """One input."""
    if data:
        reader, errors, _ = READERS[data[0] % len(READERS)]
        try:
            reader(data[1:])
        except errors:
            pass


def seeds() -> Iterator[tuple[str, bytes]]:
    """Each file as it should be."""
    for number, (reader, _, content) in enumerate(READERS):
        yield reader.__name__.strip("_"), bytes([number]) + content
    topic = TopicRecord(topic_id=bytes(16), name="t")
    yield "topic-record", bytes([7]) + encode_record(topic)
