"""The native pass of the cleaner against its plain twin, on generated logs, round after round."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.storage import cleaner_twin as twin
from tidelog._native import cleaner as native
from tidelog._native.cleaner import CleanerPass
from tidelog._native.log_file import LogFile
from tidelog._native.offset_map import OffsetMap
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.compression import compress, decompress
from tidelog.record.view import BatchView, iterate_batches
from tidelog.storage.cleaner_txns import CleanedTransactions
from tidelog.storage.txn_index import AbortedTxn

NOW = 1_700_000_000_000
DAY_MS = 86_400_000

records = st.lists(
    st.builds(
        NewRecord,
        st.integers(NOW - 10_000, NOW),
        st.one_of(st.none(), st.sampled_from([b"", b"a", b"bb", b"key-3", b"k" * 20, b"z" * 300])),
        st.one_of(st.none(), st.binary(max_size=40)),
        st.sampled_from([(), ((b"h", b"1"), (b"i", None))]),
    ),
    min_size=1,
    max_size=6,
)


@dataclass(frozen=True)
class Step:
    """A batch of records, or the end of the producer's transaction (records None)."""

    records: list[NewRecord] | None
    producer: int  # -1: none; from 2 on they write transactions
    codec: int
    append_time: bool
    commits: bool
    gap: int


steps = st.builds(
    Step,
    st.one_of(records, records, records, st.none()),
    st.integers(-1, 4),
    st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 0, 0, 3]),
)


@dataclass
class Written:
    """A log, and what a node would know of it."""

    data: bytes
    end: int
    aborted: list[tuple[int, int, int]]
    producers: dict[int, tuple[int, int]]


def marker(producer: int, is_commit: bool, offset: int) -> bytearray:
    return end_txn_marker(
        producer_id=producer,
        producer_epoch=0,
        is_commit=is_commit,
        coordinator_epoch=0,
        timestamp=NOW - 5,
        base_offset=offset,
    )


def write(plan: list[Step]) -> Written:
    out: list[bytes] = []
    aborted: list[tuple[int, int, int]] = []
    producers: dict[int, tuple[int, int]] = {}
    open_since: dict[int, int] = {}
    sequences: dict[int, int] = {}
    offset = 0
    for step in plan:
        offset += step.gap
        if step.records is None:
            if step.producer < 2:
                continue
            batch = marker(step.producer, step.commits, offset)
            first = open_since.pop(step.producer, None)
            if first is not None and not step.commits:
                aborted.append((step.producer, first, offset))
            producers.setdefault(step.producer, (-1, 0))
            offset += 1
        else:
            sequence = sequences.get(step.producer, 0)
            batch = build_batch(
                step.records,
                base_offset=offset,
                partition_leader_epoch=3,
                codec=step.codec,
                producer=Producer(step.producer, 0, sequence) if step.producer >= 0 else Producer(),
                is_transactional=step.producer >= 2,
                log_append_time_ms=NOW - 1 if step.append_time else None,
            )
            if step.producer >= 2:
                open_since.setdefault(step.producer, offset)
            last = offset + len(step.records) - 1
            if step.producer >= 0:
                sequences[step.producer] = sequence + len(step.records)
                producers[step.producer] = (last, 0)
            offset = last + 1
        out.append(bytes(batch))
    # Nothing of an open transaction is cleaned: they all end.
    for producer, first in open_since.items():
        out.append(bytes(marker(producer, False, offset)))
        aborted.append((producer, first, offset))
        offset += 1
    return Written(b"".join(out), offset, aborted, producers)


def drive(passing: CleanerPass, call: object, transactions: CleanedTransactions) -> bytes:
    """Serves the steps of the native pass. Returns what came out."""
    out = []
    assert callable(call)
    while (step := call()) not in (native.END, native.FULL):
        if step == native.ASK:
            if passing.is_control:
                batch: BatchView = next(iterate_batches(passing.batch_bytes))
                control = batch.control()
                passing.decide(
                    transactions.discards_marker(
                        passing.producer_id, passing.last_offset, control and control[0]
                    )
                )
            else:
                passing.decide(transactions.discards_data(passing.producer_id, passing.last_offset))
        elif step == native.OPEN:
            passing.give_payload(decompress(passing.codec, passing.payload_bytes(), 1 << 20))
        elif step == native.PACK:
            passing.pack(compress(passing.codec, passing.packing_bytes()))
        elif step == native.WRITE:
            out.append(passing.take_output())
        else:
            assert step == native.SLICE, passing.problem
    return b"".join(out)


def clean_natively(
    path: Path, log: Written, data: bytes, *, first_dirty: int, now_ms: int, most: int, chunk: int
) -> tuple[bytes, int]:
    """(what stays, offset up to which the log is clean)."""
    path.write_bytes(data)
    file = LogFile(os.open(path, os.O_RDONLY))
    aborted = [AbortedTxn(p, first, last, last + 1) for p, first, last in log.aborted]
    keys = OffsetMap(most, 1.0)
    passing = CleanerPass(keys, chunk_bytes=chunk)
    passing.begin(file, 0, len(data))
    steps = 0
    transactions = CleanedTransactions(t for t in aborted if t.last_offset >= first_dirty)
    full = False

    def index() -> int:
        nonlocal steps, full
        steps += 1
        step = passing.index(first_dirty)
        full = step == native.FULL
        return step

    drive(passing, index, transactions)
    if not full:
        keys.reach_to(log.end - 1)
    passing = CleanerPass(
        keys,
        chunk_bytes=chunk,
        now_ms=now_ms,
        delete_retention_ms=DAY_MS,
        end_of_round=log.end,
        producers=[(p, last, epoch) for p, (last, epoch) in log.producers.items()],
    )
    passing.begin(file, 0, len(data))
    out = drive(passing, passing.copy, CleanedTransactions(aborted))
    return out, keys.latest_offset + 1


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(steps, min_size=1, max_size=14),
    st.integers(1, 8),
    st.sampled_from([61, 100, 300, 100_000]),
    st.floats(0, 1),
)
def test_what_stays_is_what_the_twin_keeps(
    tmp_path_factory: pytest.TempPathFactory,
    plan: list[Step],
    most: int,
    chunk: int,
    already_clean: float,
) -> None:
    log = write(plan)
    path = tmp_path_factory.getbasetemp() / "cleaned.log"
    data, first_dirty = log.data, int(log.end * already_clean)
    for round_number in range(4):
        now_ms = NOW + round_number * (DAY_MS // 2 + 1)
        batches = twin.parse_log(data)
        keys, reach = twin.read_keys(batches, first_dirty, log.end, log.aborted, most)
        expected = twin.clean(
            batches,
            keys,
            max(reach, 0),
            now_ms=now_ms,
            delete_retention_ms=DAY_MS,
            end_of_round=log.end,
            producers=log.producers,
            aborted=log.aborted,
        )
        data, cleaned = clean_natively(
            path, log, data, first_dirty=first_dirty, now_ms=now_ms, most=most, chunk=chunk
        )
        assert twin.parse_log(data) == twin.parse_log(expected)
        assert data == expected
        assert cleaned == reach
        first_dirty = 0 if round_number else reach


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=1, max_size=14))
def test_the_last_value_of_every_key_is_left(
    tmp_path_factory: pytest.TempPathFactory, plan: list[Step]
) -> None:
    log = write(plan)
    path = tmp_path_factory.getbasetemp() / "model.log"
    expected: dict[bytes, tuple[int, bytes | None]] = {}
    last: dict[bytes, bytes | None] = {}
    for batch in twin.parse_log(log.data):
        if batch.has(twin.CONTROL) or any(
            p == batch.producer[0] and first <= batch.base_offset <= end
            for p, first, end in log.aborted
        ):
            continue
        for record in batch.records:
            if record.key is not None:
                expected[record.key] = (record.offset, record.value)
                last[record.key] = record.value
    data, _ = clean_natively(path, log, log.data, first_dirty=0, now_ms=NOW, most=100, chunk=500)
    found = {
        record.key: (record.offset, record.value)
        for batch in twin.parse_log(data)
        if not batch.has(twin.CONTROL)
        for record in batch.records
    }
    assert found == expected
    # Once their time is over the deletion markers go, and nothing comes back.
    for _ in range(2):
        data, _ = clean_natively(
            path, log, data, first_dirty=0, now_ms=NOW + 2 * DAY_MS, most=100, chunk=500
        )
    left = {
        record.key: record.value
        for batch in twin.parse_log(data)
        if not batch.has(twin.CONTROL)
        for record in batch.records
    }
    assert left == {key: value for key, value in last.items() if value is not None}
