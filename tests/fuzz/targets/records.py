"""Fuzz target: record batches, as a leader checks them and as everybody else reads them.

Input: one byte of options (see OPTIONS), then the bytes that a Produce request could hold.

Must hold: the native check says what its plain twin says; an accepted batch can be read, all of it;
a batch that has to be opened is refused with a reason or becomes one that passes the check and
holds the same records; every reader ends with a value or its own error; decompression makes no more
than it may.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracle.record import batch_twin
from tests.oracle.record.batch_twin import NO_LIMIT, RECOMPRESS, Limits
from tests.oracle.record.batches import NOW_MS, make_batch, patched
from tidelog._native import batch as native
from tidelog._native.crc32c import crc32c
from tidelog._native.producer_state import ProducerStates
from tidelog._native.records import Record, control_type_of, decode_records, record_errors
from tidelog._native.scan import find_record
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.compression import Codec, CompressionError, compress, decompress
from tidelog.record.reasons import InvalidBatchError, Reason
from tidelog.record.recompress import explain, recompress
from tidelog.record.view import CorruptBatchError, iterate_batches

MAX_INPUT_BYTES = 4096
DECOMPRESSED_BYTES_MAX = 1 << 18
#: Bits of the first byte: two for LIMITS, two for VERSIONS, then these.
OPTIONS = {"true size": 0x10, "true checksum": 0x20}
LIMITS = [
    Limits(),
    Limits(log_append_time=True, target_codec=Codec.LZ4),
    Limits(compacted=True, timestamp_before_max_ms=1000, max_message_bytes=700),
    Limits(timestamp_after_max_ms=NO_LIMIT, target_codec=Codec.NONE),
]
VERSIONS = [3, 9, 13, 6]


def run(data: bytes) -> None:
    """One input."""
    if not data:
        return
    options, batch = data[0], data[1:]
    if options & OPTIONS["true size"] and len(batch) >= 61:
        batch = patched(batch, 8, ">i", len(batch) - 12)
    if options & OPTIONS["true checksum"] and len(batch) >= 61:
        batch = patched(batch, 17, ">I", crc32c(batch[21:]))
    limits, version = LIMITS[options & 3], VERSIONS[options >> 2 & 3]
    _check(batch, version, limits)
    _read(batch, limits)


def seeds() -> Iterator[tuple[str, bytes]]:
    """Good batches of every codec, markers, two batches in a row, texts that compress well."""
    rich = [
        NewRecord(
            NOW_MS + i, (None, b"key" * i)[i % 2], b"v" * i * 9, ((b"h" * i, None),) * (i % 3)
        )
        for i in range(4)
    ]
    fixed = OPTIONS["true size"] | OPTIONS["true checksum"]
    for codec in Codec:
        batch = bytes(build_batch(rich, codec=codec, producer=Producer(9, 1, 5)))
        for number in range(4):
            yield f"{codec.name.lower()}-{number}", bytes([fixed | number]) + batch
        flat = bytes(build_batch([NewRecord(NOW_MS, None, bytes(200_000))], codec=codec))
        if codec:
            yield f"{codec.name.lower()}-dense", bytes([fixed | 1]) + flat[:2000]
    marker = end_txn_marker(
        producer_id=1, producer_epoch=0, is_commit=True, coordinator_epoch=0, timestamp=0
    )
    yield "marker", bytes([fixed]) + bytes(marker)
    yield "two", bytes([0]) + make_batch(1) + make_batch(2)


def _check(batch: bytes, version: int, limits: Limits) -> None:
    status, header, reason, index = native.check(batch, version, NOW_MS, limits.as_tuple())
    verdict = batch_twin.check(batch, version, NOW_MS, limits)
    assert (status, reason) == (verdict.status, verdict.reason), (verdict, status, Reason(reason))
    if verdict.record_index >= 0:
        assert index == verdict.record_index
    if status == RECOMPRESS:
        _recompress(batch, limits)
    elif status == 0:
        assert header is not None
        if header.codec == Codec.NONE:
            records = decode_records(batch[61 : header.size], header)
            assert [record.offset for record in records] == list(range(header.records_count))
            assert header.max_timestamp == verdict.max_timestamp
            assert header.offset_of_max_timestamp == verdict.offset_of_max_timestamp
    else:
        for error in explain(batch, now_ms=NOW_MS, limits=limits.as_tuple()):
            assert error.batch_index >= 0


def _recompress(batch: bytes, limits: Limits) -> None:
    try:
        made = recompress(
            batch,
            now_ms=NOW_MS,
            limits=limits.as_tuple(),
            decompressed_bytes_max=DECOMPRESSED_BYTES_MAX,
        )
    except InvalidBatchError as refused:
        assert refused.error_code != 0
        return
    (before,) = iterate_batches(batch, check_crc=False)
    (after,) = iterate_batches(made)
    old, new = (view.records(DECOMPRESSED_BYTES_MAX) for view in (before, after))
    assert [_content(record) for record in new] == [_content(record) for record in old]
    assert after.header.records_count == len(new)
    assert after.header.codec == (
        before.header.codec if limits.target_codec < 0 else limits.target_codec
    )
    assert len(made) <= limits.max_message_bytes
    if limits.log_append_time:
        assert after.header.max_timestamp == NOW_MS


def _content(record: Record) -> tuple[object, ...]:
    return record.key, record.value, record.headers


def _read(data: bytes, limits: Limits) -> None:
    position = 0
    try:
        for view in iterate_batches(data):
            assert view.position == position
            position += len(view.data)
            records = view.records(DECOMPRESSED_BYTES_MAX)
            assert len(records) == view.header.records_count
            view.control()
            if records and view.header.codec == Codec.NONE:
                _find(bytes(view.payload), view.header, records)
    except CorruptBatchError as error:
        assert 0 <= error.position < len(data)
    control_type_of(data)
    header = native.parse(data)
    if header is not None:
        assert len(record_errors(data[61:], header, NOW_MS, limits.as_tuple(), 10)) <= 10
        _unpack(header.codec, data[61 : header.size])
    try:
        ProducerStates().replay(data)
    except ValueError:
        pass


def _find(payload: bytes, header: native.BatchHeader, records: list[Record]) -> None:
    """The search by time finds the first record that is late enough."""
    wanted = header.base_timestamp + 1
    found = find_record(payload, header.base_timestamp, wanted, 0)
    if header.is_log_append_time:
        return
    # (Negative offset deltas, which no leader takes, are none that a search could give back.)
    late = [
        record
        for record in records
        if record.timestamp >= wanted and record.offset >= header.base_offset
    ]
    if not late:
        assert found is None
    else:
        assert found == (late[0].offset - header.base_offset, late[0].timestamp)


def _unpack(codec: int, packed: bytes) -> None:
    """The limit is kept to the byte, and what was unpacked is packed again."""
    try:
        data = decompress(codec, packed, DECOMPRESSED_BYTES_MAX)
    except CompressionError:
        return
    assert len(data) <= DECOMPRESSED_BYTES_MAX
    assert decompress(codec, packed, len(data)) == data
    if data:
        try:
            decompress(codec, packed, len(data) - 1)
        except CompressionError:
            pass
        else:
            raise AssertionError("more was unpacked than the limit")
    if codec and len(data) < 1 << 14:
        assert decompress(codec, compress(codec, data), len(data)) == data
