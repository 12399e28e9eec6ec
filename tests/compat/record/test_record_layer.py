"""The record layer beside a log of the reference: the same bytes in, the same answers out.

Every case and every random history runs through Apache Kafka's own log (no broker around it) and
through Tidelog's checks, producer state and stamps; error codes, record errors, stored bytes,
duplicates and snapshots must be equal. Where Tidelog differs on purpose, the case says so.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.compat.record.oracle import ORIGIN_COORDINATOR, Appended, LogOracle
from tests.oracle.record.batch_twin import NO_LIMIT, Limits
from tests.oracle.record.batches import NOW_MS, make_batch, patched, raw_batch, raw_record, sealed
from tidelog._native import batch as native
from tidelog._native.producer_state import ProducerStates
from tidelog._native.records import stamp_batch
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.compression import CODECS_BY_NAME, Codec, compress
from tidelog.record.reasons import InvalidBatchError
from tidelog.record.recompress import explain, recompress
from tidelog.record.view import iterate_batches
from tidelog.storage.leader_epochs import LeaderEpochCache
from tidelog.storage.producer_snapshot import decode_snapshot, encode_snapshot
from tidelog.storage.txn_index import AbortedTxn, TxnIndex, collect_aborted

MAX_SEQUENCE = 2**31 - 1
OUT_OF_ORDER, INVALID_TXN_STATE = 45, 48
DUPLICATE = 1


@pytest.fixture(scope="module")
def oracle(java: None) -> Iterator[LogOracle]:
    with LogOracle() as running:
        yield running


@dataclass
class Ours:
    """One batch through Tidelog's record layer, as the log of a partition uses it."""

    error_code: int
    stored: bytes = b""
    record_indexes: tuple[int, ...] = ()


def limits_of(configs: dict[str, str]) -> Limits:
    codec = configs.get("compression.type", "producer")
    return Limits(
        max_message_bytes=int(configs.get("max.message.bytes", 1_048_588)),
        timestamp_before_max_ms=int(configs.get("message.timestamp.before.max.ms", NO_LIMIT)),
        timestamp_after_max_ms=int(configs.get("message.timestamp.after.max.ms", 3_600_000)),
        log_append_time=configs.get("message.timestamp.type") == "LogAppendTime",
        compacted="compact" in configs.get("cleanup.policy", "delete"),
        target_codec=-1 if codec == "producer" else CODECS_BY_NAME[codec],
    )


def ours(data: bytes, version: int, configs: dict[str, str]) -> Ours:
    limits = limits_of(configs).as_tuple()
    status, header, _, _ = native.check(data, version, NOW_MS, limits)
    if status == -100:
        try:
            built = recompress(data, now_ms=NOW_MS, limits=limits)
            stamp_batch(built, None, 0, 0)
            return Ours(0, bytes(built))
        except InvalidBatchError as refused:
            indexes = tuple(error.batch_index for error in refused.record_errors)
            return Ours(refused.error_code, record_indexes=indexes)
    if status != 0:
        errors = explain(data, now_ms=NOW_MS, limits=limits) if header is not None else ()
        return Ours(status, record_indexes=tuple(error.batch_index for error in errors))
    assert header is not None
    stored = bytearray(data[: header.size])
    stamp_batch(stored, header, 0, 0)
    return Ours(0, bytes(stored))


def assert_same(theirs: Appended, mine: Ours) -> None:
    assert mine.error_code == theirs.error_code, theirs.message
    assert mine.record_indexes == tuple(index for index, _ in theirs.record_errors)
    if theirs.error_code == 0:
        assert content(mine.stored) == content(theirs.stored)


def content(data: bytes) -> tuple[object, ...]:
    """A stored batch; compressed bytes count by what is in them, since compressors differ."""
    (view,) = iterate_batches(data)
    header = view.header
    fields = (
        header.attributes,
        header.last_offset_delta,
        header.base_timestamp,
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.records_count,
    )
    return (*fields, *view.records())


GOOD = make_batch()
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
COMPACT = {"cleanup.policy": "compact"}


def keyless(*positions: int, codec: int = 0, count: int = 4) -> bytes:
    keys = [None if i in positions else b"k" for i in range(count)]
    return bytes(build_batch([NewRecord(NOW_MS, key, b"v") for key in keys], codec=codec))


def in_codec(codec: Codec, payload: bytes, count: int) -> bytes:
    plain = raw_batch(count=count, tail=compress(codec, payload))
    return sealed(patched(plain, 21, ">h", codec))


CASES: dict[str, tuple[bytes, int, dict[str, str]]] = {
    "good": (GOOD, 9, {}),
    "empty": (b"", 9, {}),
    "cut": (GOOD[:-1], 9, {}),
    "cut before its size": (GOOD[:11], 9, {}),
    "cut before its magic": (GOOD[:16], 9, {}),
    "size -1": (patched(GOOD, 8, ">i", -1), 9, {}),
    "size 13": (patched(GOOD, 8, ">i", 13), 9, {}),
    "size 14": (patched(GOOD, 8, ">i", 14), 9, {}),
    "size 48": (patched(GOOD, 8, ">i", 48), 9, {}),
    **{f"magic {m}": (patched(GOOD, 16, ">b", m), 9, {}) for m in (-1, 0, 1, 3, 127)},
    **{f"{n} zeros behind": (GOOD + bytes(n), 9, {}) for n in (1, 5, 11, 12, 16, 17, 40)},
    **{f"{n} bytes behind": (GOOD + GOOD[:n], 9, {}) for n in (12, 16, 17, 40)},
    "two batches": (GOOD + GOOD, 9, {}),
    "a strange magic behind": (GOOD + patched(GOOD, 16, ">b", 5), 9, {}),
    "magic 1 behind": (GOOD + patched(GOOD, 16, ">b", 1), 9, {}),
    "zstd, version 6": (make_batch(codec=Codec.ZSTD), 6, {}),
    "zstd, version 7": (make_batch(codec=Codec.ZSTD), 7, {}),
    "base offset": (patched(GOOD, 0, ">q", 5), 9, {}),
    "too large": (make_batch(30), 9, {"max.message.bytes": "100"}),
    "checksum": (patched(GOOD, 17, ">I", 1), 9, {}),
    **{f"codec {c}": (sealed(patched(GOOD, 21, ">h", c)), 9, {}) for c in (5, 6, 7)},
    **{f"delta {d}": (sealed(patched(GOOD, 23, ">i", d)), 9, {}) for d in (-1, 5, 2**31 - 1)},
    **{f"count {c}": (sealed(patched(GOOD, 57, ">i", c)), 9, {}) for c in (-1, 0, 4)},
    "counts too few": (sealed(patched(patched(GOOD, 57, ">i", 2), 23, ">i", 1)), 9, {}),
    "counts too many": (sealed(patched(patched(GOOD, 57, ">i", 4), 23, ">i", 3)), 9, {}),
    "control": (sealed(patched(GOOD, 21, ">h", 0x20)), 9, {}),
    "delete horizon": (sealed(patched(GOOD, 21, ">h", 0x40)), 9, {}),
    "unknown attributes": (sealed(patched(GOOD, 21, ">h", 0x7F00)), 9, {}),
    "producer without sequence": (sealed(patched(GOOD, 43, ">q", 5)), 9, {}),
    "producer -2": (sealed(patched(GOOD, 43, ">q", -2)), 9, {}),
    "wrong max timestamp": (sealed(patched(GOOD, 35, ">q", 5)), 9, {}),
    "LogAppendTime topic": (GOOD, 9, APPEND_TIME),
    "LogAppendTime topic, gzip": (make_batch(codec=Codec.GZIP), 9, APPEND_TIME),
    "producer says LogAppendTime": (sealed(patched(GOOD, 21, ">h", 8)), 9, {}),
    "and the topic too": (sealed(patched(GOOD, 21, ">h", 8)), 9, APPEND_TIME),
    "and gzip": (sealed(patched(make_batch(codec=1), 21, ">h", 9)), 9, APPEND_TIME),
    "LogAppendTime without time": (
        sealed(patched(patched(GOOD, 21, ">h", 8), 35, ">q", -1)), 9, {}
    ),
    **{
        f"timestamp {t}": (make_batch(timestamp=t), 9, {})
        for t in (-1, -2, 0, -5000, -(2**63), 2**63 - 5, NOW_MS + 3_600_001, NOW_MS + 3_599_999)
    },
    "in the future, gzip": (make_batch(timestamp=NOW_MS + 3_599_999, codec=1), 9, {}),
    "old": (make_batch(timestamp=NOW_MS - 1001), 9, {"message.timestamp.before.max.ms": "1000"}),
    "old, zstd": (
        make_batch(timestamp=NOW_MS - 1001, codec=4), 9, {"message.timestamp.before.max.ms": "1000"}
    ),
    "not too old": (
        make_batch(timestamp=NOW_MS - 500, codec=4), 9, {"message.timestamp.before.max.ms": "1000"}
    ),
    "keyless": (keyless(1, 3), 9, COMPACT),
    **{f"keyless, {c.name}": (keyless(1, 3, codec=c), 9, COMPACT) for c in Codec if c},
    **{f"keys, {c.name}": (keyless(codec=c), 9, COMPACT) for c in Codec},
    "null key by another length": (raw_batch(raw_record(key=b"\x09")), 9, COMPACT),
    "null key": (raw_batch(raw_record(key=b"\x01")), 9, {}),
    "key beyond": (raw_batch(raw_record(key=b"\x7e")), 9, {}),
    "-1 headers": (raw_batch(raw_record(headers=b"\x01")), 9, {}),
    "a header missing": (raw_batch(raw_record(headers=b"\x02")), 9, {}),
    "header with null key": (raw_batch(raw_record(headers=b"\x02\x01\x01")), 9, {}),
    "header with null value": (raw_batch(raw_record(headers=b"\x02\x00\x01")), 9, {}),
    "byte behind the headers": (raw_batch(raw_record(tail=b"x")), 9, {}),
    "byte behind the records": (raw_batch(raw_record(), tail=b"x"), 9, {}),
    "record of length 0": (raw_batch(b"\x00"), 9, {}),
    "record of length -1": (raw_batch(b"\x01" + raw_record()), 9, {}),
    "record length + 1": (raw_batch(raw_record(length_add=1)), 9, {}),
    "record length - 1": (raw_batch(raw_record(length_add=-1)), 9, {}),
    "record attributes": (raw_batch(raw_record(attributes=7)), 9, {}),
    "long varint": (raw_batch(raw_record(key=b"\x82\x00k")), 9, {}),
    "too long varint": (raw_batch(raw_record(key=b"\x82\x80\x80\x80\x80\x00k")), 9, {}),
    "leader epoch": (patched(GOOD, 12, ">i", 77), 9, {}),
    **{
        f"{source.name} to {target}": (make_batch(5, codec=source), 9, {"compression.type": target})
        for source in Codec
        for target in CODECS_BY_NAME
    },
    "rebuilt with LogAppendTime": (
        make_batch(3, timestamp=7), 9, {"compression.type": "lz4", **APPEND_TIME}
    ),
    "rebuilt, wrong max timestamp": (
        sealed(patched(make_batch(codec=1), 35, ">q", 5)), 9, {"compression.type": "zstd"}
    ),
    "rebuilt, in the future": (
        make_batch(timestamp=NOW_MS * 2), 9, {"compression.type": "snappy"}
    ),
    "rebuilt, damaged gzip": (
        sealed(patched(GOOD, 21, ">h", 1)), 9, {"compression.type": "zstd"}
    ),
    "rebuilt, a record missing": (
        in_codec(Codec.GZIP, raw_record(), 2), 9, {"compression.type": "zstd"}
    ),
    "rebuilt, a byte too many": (
        in_codec(Codec.GZIP, raw_record() + b"x", 1), 9, {"compression.type": "zstd"}
    ),
    "rebuilt, keyless": (keyless(0), 9, {"compression.type": "lz4", **COMPACT}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_same_answer(oracle: LogOracle, name: str) -> None:
    data, version, configs = CASES[name]
    oracle.new_log(configs)
    theirs = oracle.append(data, now_ms=NOW_MS, api_version=version)
    mine = ours(data, version, configs)
    assert_same(theirs, mine)
    if theirs.error_code == 0 and "to" not in name.split() and "rebuilt" not in name:
        assert mine.stored == theirs.stored


# Where Tidelog is stricter or does not look, and what the reference does.
DIFFERENT: dict[str, tuple[bytes, int, int]] = {
    # Offsets would be wrong for every reader; the reference stores them.
    "offset deltas": (raw_batch(raw_record(offset_delta=1)), 0, 87),
    # Java drops the bits that do not fit; no client writes them.
    "varint over 32 bits": (raw_batch(raw_record(key=b"\x82\x80\x80\x80\x70k")), 0, 87),
    # Compressed batches are not opened unless the topic asks for it.
    "damaged gzip": (sealed(patched(GOOD, 21, ">h", 1)), -1, 0),
    "gzip, a record missing": (in_codec(Codec.GZIP, raw_record(), 2), 87, 0),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_on_purpose(oracle: LogOracle, name: str) -> None:
    data, theirs, mine = DIFFERENT[name]
    oracle.new_log()
    assert oracle.append(data, now_ms=NOW_MS).error_code == theirs
    assert ours(data, 9, {}).error_code == mine


# ---- producer state ------------------------------------------------------------------------------


class History:
    """One random history of producers, through both logs at once."""

    def __init__(self, oracle: LogOracle, seed: int, with_transactions: bool) -> None:
        self.rng = random.Random(seed)
        self.oracle = oracle
        self.with_transactions = with_transactions
        verify = self.rng.random() < 0.3
        oracle.new_log(verify_transactions=verify, producer_expiration_ms=5000)
        self.states = ProducerStates(verify)
        self.end = 0
        self.now_ms = NOW_MS
        self.following: dict[int, tuple[int, int]] = {}
        self.sent: list[bytes] = []

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.now_ms += self.rng.choice([0, 1, 1000])
            producer_id = self.rng.choice([1, 2, 3, -1])
            if self.with_transactions and producer_id > 0 and self.rng.random() < 0.12:
                self.mark(producer_id)
            elif self.rng.random() < 0.05:
                self.oracle.expire_producers(self.now_ms)
                self.states.expire(self.now_ms, 5000)
            else:
                self.send(self.next_batch(producer_id))
        if self.end:
            snapshot = self.oracle.snapshot()
            theirs = decode_snapshot(snapshot, "theirs")
            assert sorted(theirs) == sorted(self.states.dump())
            assert encode_snapshot(theirs) == snapshot

    def next_batch(self, producer_id: int) -> bytes:
        rng = self.rng
        if self.sent and rng.random() < 0.2:
            return rng.choice(self.sent[-12:])
        count = rng.choice([1, 1, 2, 3, 7])
        epoch, sequence = -1, -1
        if producer_id > 0:
            start = (0, rng.choice([0, 0, 5, MAX_SEQUENCE - 3]))
            epoch, sequence = self.following.get(producer_id, start)
            chance = rng.random()
            if chance < 0.15:
                epoch, sequence = max(epoch + rng.choice([-1, 1]), 0), rng.choice([0, 0, sequence])
            elif chance < 0.3:
                sequence += rng.choice([-1, 1, -count, 5])
            sequence &= MAX_SEQUENCE
        transactional = self.with_transactions and producer_id > 0 and rng.random() < 0.5
        data = make_batch(
            count,
            self.now_ms,
            producer=Producer(producer_id, epoch, sequence),
            is_transactional=transactional,
        )
        self.sent.append(data)
        return data

    def send(self, data: bytes) -> None:
        theirs = self.oracle.append(data, now_ms=self.now_ms)
        status, header, _, _ = native.check(data, 9, self.now_ms, Limits().as_tuple())
        assert status == 0
        assert header is not None
        verdict = (0, -1, -1, -1)
        if header.producer_id >= 0:
            verdict = self.states.check_header(header)
        if verdict[0] == DUPLICATE:
            assert (theirs.error_code, theirs.stored) == (0, b"")
            assert verdict[1:3] == (theirs.first_offset, theirs.last_offset)
            return
        if theirs.error_code == 0 and not theirs.stored and self.has_ended(header, theirs):
            # The reference says that it is written (ADR 0035).
            assert -verdict[0] in (OUT_OF_ORDER, INVALID_TXN_STATE)
            return
        assert -verdict[0] == theirs.error_code, theirs.message
        if theirs.error_code:
            return
        stored = bytearray(data)
        stamp_batch(stored, header, self.end, 0)
        assert bytes(stored) == theirs.stored
        if header.producer_id >= 0:
            self.states.update_header(header, self.end, header.max_timestamp)
            after = (header.base_sequence + header.records_count) & MAX_SEQUENCE
            self.following[header.producer_id] = (header.producer_epoch, after)
        self.end += header.records_count

    def has_ended(self, header: native.BatchHeader, repeated: Appended) -> bool:
        """Whether what the reference takes for repeated is in a transaction that has ended."""
        known = self.states.entry(header.producer_id)
        if not header.is_transactional or known is None:
            return False
        if known.current_txn_first_offset < 0:
            return known.coordinator_epoch >= 0
        return repeated.last_offset < known.current_txn_first_offset

    def mark(self, producer_id: int) -> None:
        rng = self.rng
        known = self.states.entry(producer_id)
        epoch = max((known.producer_epoch if known else 0) + rng.choice([0, 0, 1, -1, 2]), 0)
        coordinator_epoch, version = rng.choice([0, 0, 1, 2]), rng.choice([0, 2])
        marker = end_txn_marker(
            producer_id=producer_id,
            producer_epoch=epoch,
            is_commit=rng.random() < 0.5,
            coordinator_epoch=coordinator_epoch,
            timestamp=self.now_ms,
        )
        theirs = self.oracle.append(
            bytes(marker),
            now_ms=self.now_ms,
            origin=ORIGIN_COORDINATOR,
            transaction_version=version,
        )
        mine = self.states.check_marker(producer_id, epoch, coordinator_epoch, version)
        assert mine == theirs.error_code, theirs.message
        if mine == 0:
            stamp_batch(marker, None, self.end, 0)
            assert bytes(marker) == theirs.stored
            self.states.replay(marker)
            self.end += 1


@pytest.mark.parametrize("with_transactions", [False, True])
def test_same_history_of_producers(oracle: LogOracle, with_transactions: bool) -> None:
    for seed in range(60):
        try:
            History(oracle, seed, with_transactions).run(60)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


# ---- small files ---------------------------------------------------------------------------------


def test_same_leader_epochs(oracle: LogOracle) -> None:
    oracle.new_log()
    for seed in range(200):
        rng = random.Random(seed)
        steps = [
            (rng.choice("aaaes"), rng.randrange(8), rng.randrange(40))
            for _ in range(rng.randrange(12))
        ]
        cache = LeaderEpochCache()
        for step, epoch, offset in steps:
            if step == "a":
                cache.assign(epoch, offset)
            elif step == "e":
                cache.truncate_from_end(offset)
            else:
                cache.truncate_from_start(offset)
        entries, ends, owners = oracle.leader_epochs(steps, 9, 45)
        assert cache.entries == entries, (seed, steps)
        assert [cache.end_offset_for(epoch, 45) for epoch in range(-1, 9)] == ends, (seed, steps)
        mine = [cache.epoch_for(offset) for offset in range(45)]
        assert [-1 if epoch is None else epoch for epoch in mine] == owners, (seed, steps)


def test_same_transaction_index(
    oracle: LogOracle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("txn")
    for seed in range(60):
        rng = random.Random(seed)
        entries: list[AbortedTxn] = []
        end = 0
        for producer_id in range(rng.randrange(8)):
            end += rng.randrange(1, 10)
            first = max(end - rng.randrange(15), 0)
            stable = rng.randrange(first, end + 2)
            entries.append(AbortedTxn(producer_id, first, end, stable))
        fetch = rng.randrange(end + 3)
        upper = rng.randrange(fetch, end + 10)
        cut = rng.randrange(end + 3)
        found, is_complete, data = oracle.transaction_index(entries, fetch, upper, cut)
        mine = collect_aborted(entries, fetch, upper)
        assert [txn.last_offset for txn in mine.aborted] == found, seed
        assert mine.is_complete is is_complete, seed
        path = folder / f"{seed}.txnindex"
        index = TxnIndex(str(path), 0)
        for txn in entries:
            index.append(txn)
        index.write()
        index.truncate_to(cut)
        index.write()
        assert (path.read_bytes() if path.exists() else b"") == data, seed
