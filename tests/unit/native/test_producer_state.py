"""Producer state: the rules one by one, and against its plain Python twin over random histories."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.record import producer_twin as twin
from tests.oracle.record.batches import NOW_MS, make_batch
from tidelog._native import batch as native
from tidelog._native.producer_state import ProducerStates
from tidelog._native.records import stamp_batch
from tidelog.errors import InvariantError
from tidelog.record.builder import NO_PRODUCER, Producer, control_batch, end_txn_marker

MAX = 2**31 - 1
DUPLICATE = 1


class Log:
    """A partition without files: what is accepted moves the end on."""

    def __init__(self, verify_transactions: bool = True) -> None:
        self.states = ProducerStates(verify_transactions)
        self.end = 0

    def send(
        self,
        producer_id: int,
        epoch: int,
        sequence: int,
        count: int = 1,
        *,
        timestamp: int = NOW_MS,
        transactional: bool = False,
    ) -> int | tuple[int, int]:
        """0 or an error code, or the offsets of the batch that it repeats."""
        data = make_batch(
            count,
            timestamp,
            producer=Producer(producer_id, epoch, sequence),
            is_transactional=transactional,
        )
        header = native.parse(data)
        assert header is not None
        status, first, last, _ = self.states.check_header(header)
        if status == DUPLICATE:
            return first, last
        if status == 0:
            self.states.update_header(header, self.end, timestamp)
            self.end += count
        return -status

    def mark(
        self, producer_id: int, epoch: int, *, commit: bool = True, coordinator_epoch: int = 0
    ) -> tuple[int, bool]:
        marker = end_txn_marker(
            producer_id=producer_id,
            producer_epoch=epoch,
            is_commit=commit,
            coordinator_epoch=coordinator_epoch,
            timestamp=NOW_MS,
            base_offset=self.end,
        )
        self.end += 1
        return self.states.replay(marker)


# ---- sequences and epochs ------------------------------------------------------------------------


def test_in_order() -> None:
    log = Log()
    assert [log.send(1, 0, sequence) for sequence in range(10)] == [0] * 10
    assert log.states.map_end_offset == 10
    assert len(log.states) == 1


@pytest.mark.parametrize("sequence", [0, 5, MAX])
def test_an_unknown_producer_may_start_anywhere(sequence: int) -> None:
    assert Log().send(1, 3, sequence) == 0


@pytest.mark.parametrize("sequence", [0, 2, 4, 100])
def test_out_of_order(sequence: int) -> None:
    log = Log()
    log.send(1, 0, 0, count=3)
    assert log.send(1, 0, sequence) == twin.OUT_OF_ORDER


def test_lower_epoch_is_fenced() -> None:
    log = Log()
    log.send(1, 5, 0)
    assert log.send(1, 4, 1) == twin.INVALID_EPOCH
    assert log.send(1, 4, 0) == twin.INVALID_EPOCH


def test_a_new_epoch_starts_at_zero() -> None:
    log = Log()
    log.send(1, 5, 0)
    assert log.send(1, 6, 1) == twin.OUT_OF_ORDER
    assert log.send(1, 6, 0) == 0
    assert log.send(1, 6, 1) == 0


def test_five_batches_are_known_again() -> None:
    log = Log()
    for n in range(7):
        log.send(1, 0, n * 2, count=2)
    assert [log.send(1, 0, n * 2, count=2) for n in range(2, 7)] == [
        (n * 2, n * 2 + 1) for n in range(2, 7)
    ]
    # Older ones cannot be told from a gap.
    assert log.send(1, 0, 2, count=2) == twin.OUT_OF_ORDER
    # Neither can a batch with the same start and another length.
    assert log.send(1, 0, 12, count=1) == twin.OUT_OF_ORDER


def test_a_batch_of_the_epoch_before_is_no_duplicate() -> None:
    log = Log()
    log.send(1, 0, 0)
    log.send(1, 1, 0)
    assert log.send(1, 0, 0) == twin.INVALID_EPOCH
    assert log.send(1, 1, 0) == (1, 1)


@pytest.mark.parametrize("reloaded", [False, True])
def test_what_is_in_an_ended_transaction_is_no_duplicate(reloaded: bool) -> None:
    """A client that lost count: its next transaction's first batch has the sequence of one that it
    gave up in the last. It must not hear that this is written."""
    log = Log(verify_transactions=False)
    log.send(1, 0, 0, transactional=True)
    assert log.send(1, 0, 0, transactional=True) == (0, 0)
    log.mark(1, 0, commit=False)
    if reloaded:
        states = ProducerStates(False)
        states.load(log.states.dump(), log.end)
        log.states = states
    assert log.send(1, 0, 0, transactional=True) == twin.OUT_OF_ORDER
    assert log.send(1, 0, 1, transactional=True) == 0  # offset 2: the next one opens
    assert log.send(1, 0, 0, transactional=True) == twin.OUT_OF_ORDER
    assert log.send(1, 0, 1, transactional=True) == (2, 2)


def test_a_plain_batch_is_known_again_behind_a_marker() -> None:
    log = Log()
    log.send(1, 0, 0)
    log.mark(1, 0)
    assert log.send(1, 0, 0) == (0, 0)


def test_sequences_wrap_around() -> None:
    log = Log()
    assert log.send(1, 0, MAX - 1, count=2) == 0
    assert log.send(1, 0, 0) == 0
    log = Log()
    assert log.send(1, 0, MAX - 1, count=4) == 0  # MAX - 1, MAX, 0, 1
    assert log.send(1, 0, MAX - 1, count=4) == (0, 3)
    assert log.send(1, 0, 2) == 0
    entry = log.states.entry(1)
    assert entry is not None
    assert [row[0] for row in entry.retained] == [1, 2]


def test_producers_do_not_meet() -> None:
    log = Log()
    assert log.send(1, 0, 0) == 0
    assert log.send(2, 7, 40) == 0
    assert log.send(1, 0, 1) == 0
    assert log.send(2, 7, 41) == 0
    assert [row.producer_id for row in log.states.active()] == [1, 2]


# ---- expiry, truncation, snapshots ---------------------------------------------------------------


def test_expiry() -> None:
    log = Log()
    log.send(1, 0, 0, timestamp=1000)
    log.send(2, 0, 0, timestamp=5000)
    assert log.states.expire(5999, 5000) == []
    assert log.states.expire(6000, 5000) == [1]
    assert log.states.entry(1) is None
    assert log.send(1, 0, 77) == 0  # forgotten: any sequence again


def test_an_open_transaction_does_not_expire() -> None:
    log = Log(verify_transactions=False)
    log.send(1, 0, 0, timestamp=1000, transactional=True)
    assert log.states.expire(10**12, 1) == []
    log.mark(1, 0)
    assert log.states.expire(10**13, 1) == [1]


def test_truncate_fully() -> None:
    log = Log(verify_transactions=False)
    log.send(1, 0, 0, transactional=True)
    log.states.truncate_fully_and_start_at(50)
    assert (len(log.states), log.states.map_end_offset) == (0, 50)
    assert log.states.first_unstable_offset_value == -1
    assert log.send(1, 0, 9) == 0


def test_dump_and_load() -> None:
    log = Log(verify_transactions=False)
    log.send(1, 0, 0, count=3, timestamp=111)
    log.send(2, 4, 7, count=2, timestamp=222, transactional=True)
    log.mark(3, 1, coordinator_epoch=9)
    rows = log.states.dump()
    assert rows == [
        (1, 0, 2, 2, 2, 111, -1, -1),
        (2, 4, 8, 4, 1, 222, -1, 3),
        (3, 1, -1, -1, 0, NOW_MS, 9, -1),
    ]
    again = Log(verify_transactions=False)
    again.states.load(rows, 6)
    assert again.states.dump() == rows
    assert again.states.dump_bytes() == log.states.dump_bytes()
    assert (again.states.map_end_offset, again.states.last_snapshot_offset) == (6, 6)
    assert again.states.first_unstable_offset_value == 3
    # The last batch of each producer is known again, and the one that follows it is accepted.
    assert again.send(1, 0, 0, count=3) == (0, 2)
    assert again.send(1, 0, 3) == 0
    assert again.send(3, 1, 1) == twin.OUT_OF_ORDER
    assert again.send(3, 1, 0) == 0


def test_log_start_moves_the_end_of_an_older_state() -> None:
    states = ProducerStates()
    states.on_log_start_offset(40)
    assert (states.map_end_offset, states.last_snapshot_offset) == (40, 40)
    states.on_log_start_offset(30, latest_snapshot_offset=35)
    assert (states.map_end_offset, states.last_snapshot_offset) == (40, 35)
    states.advance_to(60)
    states.advance_to(50)
    states.note_snapshot(60)
    assert (states.map_end_offset, states.last_snapshot_offset) == (60, 60)


# ---- transactions --------------------------------------------------------------------------------


def test_a_transactional_batch_needs_an_open_transaction() -> None:
    assert Log().send(1, 0, 0, transactional=True) == twin.INVALID_TXN_STATE


def test_the_first_unstable_offset() -> None:
    log = Log(verify_transactions=False)
    log.send(9, 0, 0)
    log.send(1, 0, 0, transactional=True)  # offset 1
    log.send(2, 0, 0, transactional=True)  # offset 2
    assert log.states.first_unstable_offset_value == 1
    assert log.states.last_stable_offset_after(1, 3) == 2
    assert log.mark(1, 0, commit=False) == (1, True)
    # Ended, but the marker at 3 is not below the high watermark yet.
    assert log.states.first_unstable_offset_value == 1
    log.states.on_high_watermark(3)
    assert log.states.first_unstable_offset_value == 1
    log.states.on_high_watermark(4)
    assert log.states.first_unstable_offset_value == 2
    assert log.states.last_stable_offset_after(2, 4) == 5
    assert log.mark(2, 0) == (2, False)
    log.states.on_high_watermark(5)
    assert log.states.first_unstable_offset_value == -1


def test_a_marker_without_a_transaction_leaves_its_traces() -> None:
    log = Log()
    assert log.mark(1, 5, coordinator_epoch=3) == (-1, False)
    assert log.states.active() == [(1, 5, -1, NOW_MS, 3, -1)]
    assert log.send(1, 4, 0) == twin.INVALID_EPOCH
    assert log.send(1, 5, 1) == twin.OUT_OF_ORDER
    assert log.send(1, 5, 0) == 0


def test_no_plain_batch_within_a_transaction() -> None:
    log = Log(verify_transactions=False)
    log.send(1, 0, 0, transactional=True)
    assert log.send(1, 0, 1) == twin.INVALID_TXN_STATE
    assert log.send(1, 0, 1, transactional=True) == 0


def test_check_of_markers() -> None:
    log = Log(verify_transactions=False)
    check = log.states.check_marker
    assert check(1, 0, 0, 2) == 0  # unknown: nothing speaks against it
    log.send(1, 5, 0, transactional=True)
    assert check(1, 4, 0, 0) == twin.INVALID_EPOCH
    assert check(1, 5, 0, 1) == 0
    assert check(1, 5, 0, 2) == twin.INVALID_EPOCH  # KIP-890: the epoch must have been raised
    assert check(1, 6, 0, 2) == 0
    log.mark(1, 6, coordinator_epoch=3)
    assert check(1, 6, 3, 2) == 0  # the same marker once more
    assert check(1, 6, 2, 2) == 52  # TRANSACTION_COORDINATOR_FENCED


def test_control_batches_are_no_data() -> None:
    states = ProducerStates()
    marker = end_txn_marker(
        producer_id=1, producer_epoch=0, is_commit=True, coordinator_epoch=0, timestamp=0
    )
    header = native.parse(marker)
    assert header is not None
    with pytest.raises(InvariantError):
        states.update_header(header, 0, 0)


def test_replay_passes_over_what_has_no_producer() -> None:
    states = ProducerStates()
    other = bytearray(control_batch(2, b"", 0, base_offset=7))
    assert states.replay(other) == (-1, False)
    assert (states.map_end_offset, len(states)) == (8, 0)
    plain = bytearray(make_batch(3, producer=NO_PRODUCER))
    stamp_batch(plain, None, 8, 0)
    assert states.replay(plain) == (-1, False)
    assert (states.map_end_offset, len(states)) == (11, 0)
    with pytest.raises(ValueError, match="whole"):
        states.replay(plain[:-1])


# ---- against the twin ----------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["next", "next", "next", "again", "gap", "epoch", "any", "end", "expire"]),
        st.integers(1, 3),  # producer
        st.integers(1, 4),  # records
        st.booleans(),  # transactional, commit
        st.integers(-2, 3),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(STEPS, st.booleans(), st.sampled_from([0, MAX - 5]))
def test_equals_its_twin(steps: list, verify: bool, start: int) -> None:
    log = Log(verify)
    model = twin.Producers(verify)
    clock = NOW_MS
    sent: list[twin.Batch] = []
    for kind, producer_id, count, flag, number in steps:
        clock += 10
        known = model.known.get(producer_id, twin.Producer())
        epoch, sequence = max(known.epoch, 0), known.next_sequence if known.epoch >= 0 else start
        if kind == "end":
            expected = model.end(producer_id, max(epoch + number, 0), number + 2, NOW_MS)
            ended = log.mark(
                producer_id, max(epoch + number, 0), commit=flag, coordinator_epoch=number + 2
            )
            assert ended == (expected, not flag and expected >= 0) or expected < 0
            assert ended[0] == expected
            continue
        if kind == "expire":
            assert set(log.states.expire(clock, number * 100)) == model.expire(clock, number * 100)
            continue
        if kind == "epoch":
            epoch, sequence = max(epoch + number, 0), 0
        elif kind in ("gap", "any"):
            sequence = (sequence + number) % (MAX + 1)
        batch = twin.Batch(producer_id, epoch, sequence, count, clock, flag)
        if kind == "again" and sent:
            batch = sent[number % len(sent)]
        answer = model.check(batch)
        got = log.send(
            batch.producer_id,
            batch.epoch,
            batch.sequence,
            batch.count,
            timestamp=batch.timestamp,
            transactional=batch.transactional,
        )
        if isinstance(answer, twin.Kept):
            assert got == (answer.first_offset, answer.last_offset)
            continue
        assert got == answer
        if answer == 0:
            model.append(batch, log.end - batch.count)
            sent = [*sent[-7:], batch]
    assert sorted(log.states.dump()) == model.snapshot()
