"""A shard over time: what it hands out, timeouts, expiry, reloads, writes that fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.coordinator.txn.txn_harness import CONFIG, T0, T1, TxnHarness
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.coordinator.txn.states import TransactionState
from tidelog.errors import KafkaError
from tidelog.limits import TOMBSTONE_BYTES_PER_WRITE_MAX
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.group import GroupMetadataValue

S = TransactionState
CONCURRENT, FENCED = 51, 90


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_transaction(version: int) -> None:
    h = TxnHarness(version)
    producer = h.init()
    assert h.add(producer, T0, client_version=version) == 0
    records = len(h.log)
    assert h.add(producer, T0, client_version=version) == 0  # is there already: nothing is written
    assert len(h.log) == records
    assert h.add(producer, T1, client_version=version) == 0
    answer = h.end(producer, version=version)
    assert answer == ((-1, -1) if version < 2 else (producer[0], 1))
    (prepared,) = h.sent
    assert prepared.index == 7
    assert prepared.partitions == {T0, T1}
    assert (prepared.producer_id, prepared.commit) == (producer[0], True)
    assert prepared.producer_epoch == (1 if version >= 2 else 0)
    assert prepared.transaction_version == (2 if version >= 2 else 0)
    h.complete_all()
    assert h.state() is S.COMPLETE_COMMIT
    assert h.sent == []
    # Complete twice (two nodes acknowledged the last marker, say): nothing happens.
    records = len(h.log)
    assert h.write(lambda shard: shard.complete(prepared, h.now_ms)) is False
    assert len(h.log) == records


def test_a_client_of_the_second_generation_in_a_cluster_of_the_first() -> None:
    """Records of version 0 do not say that it was one; the transaction ends all the same."""
    h = TxnHarness(0)
    producer = h.init()
    h.add(producer, client_version=2)
    assert h.end(producer, version=2) == (producer[0], 1)
    h.complete_all()
    assert h.state() is S.COMPLETE_COMMIT
    assert h.add((producer[0], 1)) == 0


def test_a_late_completion_does_not_end_the_next_transaction() -> None:
    h = TxnHarness(0)
    producer = h.bring_to(S.PREPARE_COMMIT, 0)
    (late,) = h.sent
    h.complete_all()
    h.add(producer)
    assert h.write(lambda shard: shard.complete(late, h.now_ms)) is False
    assert h.state() is S.ONGOING
    # Nor one that is decided, with the same epoch and partitions.
    h.pass_time(1)
    h.end(producer, version=0)
    assert h.write(lambda shard: shard.complete(late, h.now_ms)) is False
    assert h.state() is S.PREPARE_COMMIT
    h.complete_all()
    assert h.state() is S.COMPLETE_COMMIT


def test_nothing_is_handed_out_before_it_is_committed() -> None:
    h = TxnHarness()
    producer = h.init()
    h.add(producer, client_version=2)
    h.commits = False
    h.end(producer)
    assert h.sent == []
    # Everybody waits meanwhile.
    assert h.end(producer) == CONCURRENT
    assert h.init() == CONCURRENT
    assert h.init(expected=producer) == CONCURRENT
    epoch = h.shard.transactions["x"].producer_epoch
    assert h.add((producer[0], epoch)) == CONCURRENT
    h.commit_all()
    assert [p.commit for p in h.sent] == [True]


def test_a_partition_that_is_not_committed_yet_is_not_answered() -> None:
    h = TxnHarness()
    producer = h.init()
    h.commits = False
    h.add(producer)
    assert h.add(producer) == CONCURRENT
    h.commit_all()
    assert h.add(producer) == 0


def test_a_write_that_fails_changes_nothing() -> None:
    h = TxnHarness()
    producer = h.init()
    h.add(producer)
    before = h.shard.transactions["x"]
    h.refuse = 15
    h.end(producer)
    assert h.shard.transactions["x"] == before
    assert h.sent == []
    h.refuse = 15
    h.init()
    assert h.shard.transactions["x"] == before
    assert h.end(producer) == (producer[0], producer[1] + 1)
    # A retried InitProducerId is only known when its first write was done.
    h.complete_all()
    h.refuse = 15
    known = (producer[0], producer[1] + 1)
    h.init(expected=known)
    assert h.init(expected=known) == (producer[0], producer[1] + 2)


@pytest.mark.parametrize("version", [0, 2])
def test_a_transaction_that_is_open_for_too_long(version: int) -> None:
    h = TxnHarness(version)
    producer = h.init(timeout_ms=25_000)
    h.pass_time(100_000)  # An id without a transaction has no timeout.
    h.add(producer, client_version=version)
    h.pass_time(25_000)
    assert h.state() is S.ONGOING
    h.add(producer, T1, client_version=version)  # does not begin it anew
    h.pass_time(10_000)
    (prepared,) = h.sent
    assert (prepared.commit, prepared.producer_epoch) == (False, producer[1] + 1)
    h.complete_all()
    assert h.state() is S.COMPLETE_ABORT
    assert h.add(producer) == FENCED
    assert h.end(producer, version=0) == FENCED
    # Its producer may come back (KIP-360, KIP-890), or a new one.
    assert h.init() == (producer[0], producer[1] + 2)


def test_many_transactions_time_out_in_several_writes() -> None:
    h = TxnHarness()
    ids = [f"{number}-" + "x" * 60 for number in range(300)]
    partitions = tuple(replace_topic(number) for number in range(80))
    for tid in ids:
        h.add(h.init(tid), *partitions, tid=tid)
    written = len(h.log)
    result = h.shard.abort_timed_out(h.now_ms + 60_001)
    size = sum(len(r.value or b"") for r in result.records)
    assert 0 < len(result.records) < len(ids)
    assert size < TOMBSTONE_BYTES_PER_WRITE_MAX + 20_000
    h.load()
    h.pass_time(80_000)
    assert len(h.log) == written + len(ids)
    assert len(h.sent) == len(ids)


def replace_topic(number: int) -> Any:
    return T0._replace(topic=f"topic-{number}-" + "t" * 40)


def test_a_log_that_refuses_is_asked_again_after_the_interval() -> None:
    h = TxnHarness()
    h.add(h.init())
    h.pass_time(59_000)
    h.refuse = 15
    h.pass_time(11_000)
    assert h.refuse == 0
    assert h.state() is S.ONGOING
    h.pass_time(10_000)
    assert h.state() is S.PREPARE_ABORT


def test_ids_that_nobody_uses_are_forgotten() -> None:
    h = TxnHarness(config=replace(CONFIG, id_expiration_ms=10_000_000))
    h.bring_to(S.COMPLETE_ABORT)
    h.init("open", timeout_ms=900_000)
    h.add(h.init("open"), tid="open")
    h.pass_time(9_000_000)
    h.init("young")
    h.pass_time(5_000_000)
    assert set(h.shard.transactions) == {"open", "young"}
    assert h.log[-1].value is None
    assert h.state("open") is S.PREPARE_ABORT  # timed out, its markers are not written
    assert set(h.load().transactions) == {"open", "young"}
    assert h.add((1001, 0)) == 49
    assert h.init()[1] == 0
    with pytest.raises(KafkaError) as caught:
        h.shard.describe("nobody")
    assert caught.value.error_code == 105
    assert h.shard.describe("young").timeout_ms == 60_000


def test_forgetting_takes_several_writes() -> None:
    h = TxnHarness(config=replace(CONFIG, id_expiration_ms=1_000))
    for number in range(20):
        h.init(str(number) + "x" * 30_000)
    result = h.shard.expire(h.now_ms + 1_000)
    assert 0 < len(result.records) < 20
    h.load()
    h.pass_time(3_700_000)
    assert h.shard.transactions == {}


@pytest.mark.parametrize("state", [S.PREPARE_COMMIT, S.PREPARE_ABORT])
def test_what_was_decided_is_carried_out_after_a_crash(state: S) -> None:
    h = TxnHarness()
    h.bring_to(state)
    before = list(h.sent)
    h.load()
    assert h.sent == before
    h.complete_all()
    assert h.state().label == state.label.replace("Prepare", "Complete")


def test_what_is_open_times_out_after_a_crash() -> None:
    h = TxnHarness()
    producer = h.bring_to(S.ONGOING)
    h.pass_time(30_000)
    h.load()
    assert h.sent == []
    assert h.add(producer, T1, client_version=2) == 0
    h.pass_time(45_000)
    assert h.sent[0].partitions == {T0, T1}


def test_a_shard_that_was_loaded_equals_the_one_that_wrote() -> None:
    h = TxnHarness()
    for state in (S.EMPTY, S.ONGOING, S.PREPARE_COMMIT, S.COMPLETE_ABORT):
        producer = h.init(state.label)
        if state is not S.EMPTY:
            h.add(producer, tid=state.label)
        if state.is_prepared or state is S.COMPLETE_ABORT:
            h.end(producer, state.is_prepared, tid=state.label)
        if state is S.COMPLETE_ABORT:
            h.complete_all()
    before = h.shard.transactions
    assert h.load().transactions == before


def test_records_of_a_newer_kind_are_skipped() -> None:
    h = TxnHarness()
    value = encode_versioned(GroupMetadataValue(protocol_type="", leader=None, protocol=None), 3)
    h.shard.replay(CoordinatorRecord(b"\x00\x09abc", value))
    h.shard.replay(CoordinatorRecord(b"\x00", value))
    assert h.shard.transactions == {}


def test_the_one_who_leaves_stops_its_markers() -> None:
    h = TxnHarness()
    h.bring_to(S.PREPARE_COMMIT)
    assert h.sent
    h.shard.on_unloaded()
    assert h.sent == []
