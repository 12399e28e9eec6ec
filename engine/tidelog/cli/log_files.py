"""The files of a log directory as lines of text, for `tidelog dump-log`. Changes nothing.

Everything is a generator of `Line`s: a segment of any size is read batch by batch. What is broken
is a line, too, and what can be read behind it follows.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from tidelog._native.batch import BatchHeader, parse
from tidelog.errors import PeerError, StorageError
from tidelog.protocol.records import decode_key, decode_value
from tidelog.protocol.records.group import RECORD_TYPES as GROUP_TYPES
from tidelog.protocol.records.transaction import RECORD_TYPES as TRANSACTION_TYPES
from tidelog.record.compression import Codec
from tidelog.record.view import BATCH_OVERHEAD, BatchView, CorruptBatchError
from tidelog.storage.checkpoints import read_offsets
from tidelog.storage.digests import decode_digest
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT, read_leader_epochs
from tidelog.storage.meta_properties import META_PROPERTIES, read_meta_properties
from tidelog.storage.partition_metadata import (
    PARTITION_METADATA,
    format_topic_id,
    read_partition_metadata,
)
from tidelog.storage.producer_snapshot import read_snapshot
from tidelog.storage.segment_files import DIGEST_SUFFIX

#: Where a search for the next batch looks at once, and how far it goes.
SEARCH_BYTES: Final = 1 << 20
DECODERS: Final = {"offsets": GROUP_TYPES, "transactions": TRANSACTION_TYPES}

_SNAPSHOT_FIELDS: Final = (
    "producerId",
    "producerEpoch",
    "lastSequence",
    "lastOffset",
    "offsetDelta",
    "timestamp",
    "coordinatorEpoch",
    "currentTxnFirstOffset",
)
_OFFSET_ENTRY: Final = struct.Struct(">ii")
_TIME_ENTRY: Final = struct.Struct(">qi")
_TXN_ENTRY: Final = struct.Struct(">hqqqq")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was found. `broken`: it should not be like this."""

    kind: str
    fields: dict[str, Any]
    broken: bool = False

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.fields.items() if value is not None]
        return " ".join([self.kind, *words])


class UnknownFileError(StorageError):
    """A name that says nothing of what is in the file."""


@dataclass(frozen=True, slots=True)
class Options:
    records: bool = False
    decoder: str | None = None


def broken(problem: str, **where: Any) -> Line:
    return Line("BROKEN", {**where, "problem": repr(problem)}, broken=True)


def dump(path: Path, options: Options) -> Iterator[Line]:
    """All of one file. Raises OSError, and StorageError for a name that says nothing."""
    path.stat()
    name, suffix = path.name, path.suffix
    if suffix == ".log":
        yield from dump_log(path, options)
    elif suffix == ".index":
        yield from _dump_index(path, _OFFSET_ENTRY, _offset_entry)
    elif suffix == ".timeindex":
        yield from _dump_index(path, _TIME_ENTRY, _time_entry)
    elif suffix == ".txnindex":
        yield from _dump_index(path, _TXN_ENTRY, _txn_entry)
    else:
        yield from _dump_small(path, name, suffix)


# ---- logs


def batches(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, BatchView | str]]:
    """(position, the batch or what is wrong there), searching on behind what is wrong."""
    position = start
    while position < end:
        found = read_batch(file, position, end)
        yield position, found
        if isinstance(found, BatchView):
            position += len(found.data)
        else:
            position = next_batch(file, position + 1, end)


def read_batch(file: BinaryIO, position: int, end: int) -> BatchView | str:
    """The batch at `position`, or why there is none."""
    file.seek(position)
    head = file.read(min(BATCH_OVERHEAD, end - position))
    if len(head) < BATCH_OVERHEAD:
        return f"{end - position} bytes are less than a batch"
    header = parse(head)
    if header is None:
        return "no batch header"
    if header.size > end - position:
        return f"a batch of {header.size} bytes, of which {end - position} are there"
    data = head + file.read(header.size - BATCH_OVERHEAD)
    return BatchView(memoryview(data), header, position)


def next_batch(file: BinaryIO, position: int, end: int) -> int:
    """Where the next whole batch with a right checksum begins, `end` if nowhere."""
    while position < end:
        file.seek(position)
        data = file.read(SEARCH_BYTES + BATCH_OVERHEAD)
        at = 0
        while (at := data.find(b"\x02", at)) >= 0 and at - 16 < SEARCH_BYTES:
            # The magic byte stands 16 bytes behind the start.
            start = position + at - 16
            if at >= 16 and start >= position:
                found = read_batch(file, start, end)
                if isinstance(found, BatchView) and found.is_crc_ok:
                    return start
            at += 1
        position += SEARCH_BYTES
    return end


def dump_log(path: Path, options: Options) -> Iterator[Line]:
    """Every batch of a segment, and with `options.records` every record."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for position, found in batches(file, 0, size):
            if isinstance(found, str):
                resumed = next_batch(file, position + 1, size)
                yield broken(found, position=position, bytes=resumed - position)
                continue
            yield Line("batch", describe_batch(found.header, position, found.is_crc_ok))
            if not found.is_crc_ok:
                yield broken(
                    "wrong checksum", position=position, baseOffset=found.header.base_offset
                )
            elif options.records:
                yield from _dump_records(found, options)


def describe_batch(header: BatchHeader, position: int, is_crc_ok: bool) -> dict[str, Any]:
    """The header under the names that kafka-dump-log uses."""
    return {
        "baseOffset": header.base_offset,
        "lastOffset": header.last_offset,
        "count": header.records_count,
        "position": position,
        "size": header.size,
        "partitionLeaderEpoch": header.partition_leader_epoch,
        "producerId": header.producer_id if header.producer_id >= 0 else None,
        "producerEpoch": header.producer_epoch if header.producer_id >= 0 else None,
        "baseSequence": header.base_sequence if header.base_sequence >= 0 else None,
        "isTransactional": header.is_transactional or None,
        "isControl": header.is_control or None,
        "deleteHorizonMs": header.delete_horizon_ms,
        "maxTimestamp": header.max_timestamp,
        "timestampType": "LogAppendTime" if header.is_log_append_time else "CreateTime",
        "compresscodec": _codec_name(header.codec),
        "crc": header.crc,
        "isvalid": is_crc_ok,
    }


def _codec_name(codec: int) -> str:
    try:
        return Codec(codec).name.lower()
    except ValueError:
        return f"unknown({codec})"


def _dump_records(batch: BatchView, options: Options) -> Iterator[Line]:
    try:
        if batch.header.is_control:
            control = batch.control()
            kind = {0: "ABORT", 1: "COMMIT"}.get(control[0], control[0]) if control else None
            epoch = control[1] if control else None
            yield Line(
                "  marker",
                {"offset": batch.header.base_offset, "type": kind, "coordinatorEpoch": epoch},
            )
            return
        records = batch.records()
    except (CorruptBatchError, PeerError) as error:
        yield broken(str(error), position=batch.position)
        return
    for record in records:
        fields: dict[str, Any] = {"offset": record.offset, "timestamp": record.timestamp}
        if record.headers:
            fields["headers"] = [(name.decode(errors="replace"), v) for name, v in record.headers]
        if options.decoder is None:
            fields |= {"key": _shown(record.key), "value": _shown(record.value)}
        else:
            fields |= _decoded(record.key, record.value, options.decoder)
        yield Line("  record", fields)


def _shown(data: bytes | None) -> str:
    if data is None:
        return "null"
    try:
        return repr(data.decode())
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(data).decode()


def _decoded(key: bytes | None, value: bytes | None, decoder: str) -> dict[str, Any]:
    """A record of an internal topic in the fields of its schema."""
    types = DECODERS[decoder]
    try:
        record_type, decoded_key = decode_key(types, key or b"")
        decoded_value = None if value is None else decode_value(types, record_type, value)
    except (ValueError, KeyError, PeerError, StorageError) as error:
        return {"key": _shown(key), "value": _shown(value), "undecoded": repr(str(error))}
    return {"key": decoded_key, "value": "null" if decoded_value is None else decoded_value}


# ---- indexes


def _dump_index(path: Path, layout: struct.Struct, describe: Any) -> Iterator[Line]:
    base = int(path.name[:20]) if path.name[:20].isdigit() else 0
    with path.open("rb") as file:
        position = 0
        while data := file.read(layout.size * 4096):
            whole = len(data) - len(data) % layout.size
            for entry in layout.iter_unpack(data[:whole]):
                # An index that is in use is larger than its entries: zeros follow them.
                if any(entry):
                    yield Line("entry", describe(base, entry))
            if whole < len(data):
                yield broken(f"{len(data) - whole} bytes are no entry", position=position + whole)
            position += len(data)


def _offset_entry(base: int, entry: tuple[int, ...]) -> dict[str, Any]:
    return {"offset": base + entry[0], "position": entry[1]}


def _time_entry(base: int, entry: tuple[int, ...]) -> dict[str, Any]:
    return {"timestamp": entry[0], "offset": base + entry[1]}


def _txn_entry(_base: int, entry: tuple[int, ...]) -> dict[str, Any]:
    names = ("version", "producerId", "firstOffset", "lastOffset", "lastStableOffset")
    return dict(zip(names, entry, strict=True))


# ---- small files


def _dump_small(path: Path, name: str, suffix: str) -> Iterator[Line]:
    try:
        yield from _small_entries(path, name, suffix)
    except UnknownFileError:
        raise
    except StorageError as error:
        yield broken(str(error))


def _small_entries(path: Path, name: str, suffix: str) -> Iterator[Line]:
    if suffix == ".snapshot":
        for entry in read_snapshot(str(path)):
            yield Line("producer", dict(zip(_SNAPSHOT_FIELDS, entry, strict=True)))
    elif suffix == DIGEST_SUFFIX:
        yield Line("digest", dataclasses.asdict(decode_digest(path.read_bytes(), str(path))))
    elif name == LEADER_EPOCH_CHECKPOINT:
        for epoch in read_leader_epochs(str(path)).entries:
            yield Line("epoch", {"epoch": epoch.epoch, "startOffset": epoch.start_offset})
    elif name.endswith("-offset-checkpoint"):
        for (topic, partition), offset in read_offsets(str(path)).items():
            yield Line("offset", {"topic": topic, "partition": partition, "offset": offset})
    elif name == PARTITION_METADATA:
        topic_id = read_partition_metadata(str(path))
        yield Line("topic", {"topicId": format_topic_id(topic_id) if topic_id else None})
    elif name == META_PROPERTIES:
        meta = read_meta_properties(str(path))
        if meta is not None:
            yield Line("directory", {"clusterId": meta.cluster_id, "nodeId": meta.node_id})
    else:
        raise UnknownFileError(f"{path}: not a file of a log directory")
