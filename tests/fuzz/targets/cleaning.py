"""Fuzz target: the cleaner's native pass over a segment of any bytes.

Input: one byte of options (see OPTIONS), then what stands in a `.log`.

Must hold: the pass says that something is no good batch, or what comes out is good batches with
ascending offsets whose records stood in what went in, at their offsets; cleaning that once more
with the same map changes nothing; a batch that is bad is never copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.oracle.record.batches import NOW_MS, patched
from tidelog._native import cleaner as native
from tidelog._native.cleaner import CleanerPass
from tidelog._native.crc32c import crc32c
from tidelog._native.log_file import LogFile
from tidelog._native.offset_map import OffsetMap
from tidelog._native.records import Record
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.compression import Codec, CompressionError, compress, decompress
from tidelog.record.view import CorruptBatchError, iterate_batches

MAX_INPUT_BYTES = 4096
DECOMPRESSED_BYTES_MAX = 1 << 18
OPTIONS = {"true checksums": 0x01, "small map": 0x02, "discard": 0x04, "small chunk": 0x08}


def run(data: bytes) -> None:
    """One input."""
    if not data:
        return
    options, log = data[0], data[1:]
    if options & OPTIONS["true checksums"]:
        log = _with_checksums(log)
    keys = OffsetMap(2 if options & OPTIONS["small map"] else 100, 1.0)
    chunk_bytes = 64 if options & OPTIONS["small chunk"] else 8192
    discards = bool(options & OPTIONS["discard"])
    file = LogFile(os.memfd_create("segment"))
    os.pwrite(file.fd, log, 0)
    if _drive(CleanerPass(keys, chunk_bytes=chunk_bytes), file, log, discards) is None:
        return
    out = _copy(keys, file, log, chunk_bytes, discards)
    if out is None:
        return
    _check(log, out)
    again = LogFile(os.memfd_create("cleaned"))
    os.pwrite(again.fd, out, 0)
    twice = _copy(keys, again, out, chunk_bytes, discards)
    assert discards or twice == out


def seeds() -> Iterator[tuple[str, bytes]]:
    """Batches of every codec, deletions, markers, empty batches, one behind the other."""
    rich = [
        NewRecord(
            NOW_MS + i, b"key-%d" % (i % 3), (None, b"v" * i)[i % 2], ((b"h", None),) * (i % 2)
        )
        for i in range(6)
    ]
    log = b""
    for number, codec in enumerate(Codec):
        batch = build_batch(
            rich, base_offset=10 * number, codec=codec, producer=Producer(number, 0, 0)
        )
        log += bytes(batch)
        yield f"{codec.name.lower()}", bytes([1]) + bytes(batch)
    log += bytes(
        end_txn_marker(
            producer_id=1,
            producer_epoch=0,
            is_commit=False,
            coordinator_epoch=0,
            timestamp=NOW_MS,
            base_offset=60,
        )
    )
    for options in range(16):
        yield f"all-{options}", bytes([options]) + log


def _with_checksums(log: bytes) -> bytes:
    """Sizes are believed, checksums made right, so that the fuzzer gets behind them."""
    position = 0
    while len(log) - position >= 61:
        size = 12 + int.from_bytes(log[position + 8 : position + 12], "big", signed=True)
        if not 61 <= size <= len(log) - position:
            break
        crc = crc32c(log[position + 21 : position + size])
        log = patched(log, position + 17, ">I", crc)
        position += size
    return log


def _copy(
    keys: OffsetMap, file: LogFile, log: bytes, chunk_bytes: int, discards: bool
) -> bytes | None:
    passing = CleanerPass(
        keys,
        chunk_bytes=chunk_bytes,
        now_ms=NOW_MS,
        delete_retention_ms=1000,
        end_of_round=16,
        producers=[(1, 15, 0), (2, -1, 0)],
    )
    return _drive(passing, file, log, discards, copying=True)


def _drive(
    passing: CleanerPass, file: LogFile, log: bytes, discards: bool, *, copying: bool = False
) -> bytes | None:
    """What came out; None when something is wrong with the segment."""
    passing.begin(file, 0, len(log))
    out = b""
    while True:
        step = passing.copy() if copying else passing.index(0)
        if step == native.ASK:
            passing.decide(discards)
        elif step == native.OPEN:
            try:
                payload = decompress(passing.codec, passing.payload_bytes(), DECOMPRESSED_BYTES_MAX)
            except CompressionError:
                return None
            passing.give_payload(payload)
        elif step == native.PACK:
            passing.pack(compress(passing.codec, passing.packing_bytes()))
        elif step == native.WRITE:
            out += passing.take_output()
        elif step == native.BAD:
            return None
        elif step != native.SLICE:
            assert step in (native.END, native.FULL)
            return out


def _check(log: bytes, out: bytes) -> None:
    given: dict[int, Record] = {}
    for batch in iterate_batches(log):
        try:
            given |= {record.offset: record for record in batch.records()}
        except CorruptBatchError:
            return  # what the record layer is stricter about
    last = -1
    for batch in iterate_batches(out):
        assert batch.header.base_offset > last
        last = batch.header.last_offset
        for record in batch.records():
            assert given[record.offset] == record
