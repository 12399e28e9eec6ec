"""What a follower does about each answer; and that cutting by epochs keeps what was acknowledged.

The second half is a model: replicas with real leader epochs and FollowerState, their records in a
list. It plays the two stories of KIP-101 with truncation at the high watermark and by epochs, and
random ones by epochs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication.follower import (
    AdvanceLogStart,
    Append,
    Ask,
    AskOffsets,
    FollowerState,
    RestartAt,
    SetHighWatermark,
    TruncateTo,
    Wait,
)
from tidelog.storage.leader_epochs import EpochEntry, LeaderEpochCache


class Answer(NamedTuple):
    error_code: int = 0
    high_watermark: int = -1
    log_start_offset: int = -1
    diverging_epoch: int = -1
    diverging_end_offset: int = -1
    records_size: int = 0


def follower(*epochs: tuple[int, int], leader_epoch: int = 9) -> FollowerState:
    cache = LeaderEpochCache([EpochEntry(*entry) for entry in epochs])
    return FollowerState(cache, leader_epoch, 1000)


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "start", "end", "expected"),
    [
        ([], 0, 0, Ask(0, -1, 9, 0)),
        ([(3, 0)], 0, 10, Ask(10, 3, 9, 0)),
        ([(3, 0), (5, 8)], 4, 10, Ask(10, 5, 9, 4)),
        ([(3, 0), (5, 10)], 4, 10, Ask(10, 5, 9, 4)),  # it led, and appended nothing
    ],
)
def test_ask(epochs: list[tuple[int, int]], start: int, end: int, expected: Ask) -> None:
    assert follower(*epochs).ask(start, end) == expected


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(high_watermark=7, log_start_offset=0), [SetHighWatermark(7)]),
        (
            Answer(high_watermark=12, log_start_offset=0, records_size=500),
            [Append(), SetHighWatermark(12)],
        ),
        (
            Answer(high_watermark=12, log_start_offset=6, records_size=500),
            [Append(), SetHighWatermark(12), AdvanceLogStart(6)],
        ),
        (Answer(high_watermark=12, log_start_offset=2), [SetHighWatermark(12)]),  # it is behind
        (Answer(), []),
    ],
)
def test_a_good_answer(answer: Answer, expected: list[object]) -> None:
    assert list(follower((0, 0)).take(answer, 2, 10)) == expected


@pytest.mark.parametrize(
    ("epochs", "end", "diverging", "cut"),
    [
        # the leader has our last epoch, and less of it
        ([(0, 0), (2, 20)], 30, (2, 25), 25),
        ([(0, 0)], 30, (0, 12), 12),
        # it has not; of what it has instead we have the same, or less
        ([(0, 0), (2, 20)], 30, (0, 20), 20),
        ([(0, 0), (2, 20)], 30, (0, 25), 20),
        # or more
        ([(0, 0), (2, 20)], 30, (0, 15), 15),
        # it answers with an epoch that we lack: the largest one below it
        ([(0, 0), (3, 20)], 30, (2, 50), 20),
        ([(0, 0), (1, 10), (5, 20)], 30, (3, 15), 15),
        ([(0, 0), (1, 10), (5, 20)], 30, (3, 25), 20),
        # all of our epochs are above it
        ([(4, 10), (5, 20)], 30, (2, 15), 10),
        ([(4, 10), (5, 20)], 30, (2, 5), 5),
        # an epoch without records goes, whatever the log's end
        ([(0, 0), (5, 30)], 30, (0, 30), 30),
        # a log without epochs, an empty log, an epoch above ours: by the leader's word alone
        ([], 30, (2, 15), 15),
        ([], 0, (2, 15), 0),
        ([(0, 0)], 30, (2, 15), 15),
        ([(0, 0)], 30, (2, 45), 30),
    ],
)
def test_diverging(
    epochs: list[tuple[int, int]], end: int, diverging: tuple[int, int], cut: int
) -> None:
    answer = Answer(0, 50, 0, *diverging, records_size=100)
    assert follower(*epochs).take(answer, 0, end) == (TruncateTo(cut),)


def test_divergence_over_several_epochs_ends() -> None:
    """Each answer takes at least one epoch away."""
    leader = LeaderEpochCache([EpochEntry(0, 0), EpochEntry(2, 4), EpochEntry(8, 6)])
    own = LeaderEpochCache([EpochEntry(0, 0), EpochEntry(1, 10), EpochEntry(3, 20)])
    state, end, cuts = FollowerState(own, 8, 1000), 40, []
    while True:
        asked = state.ask(0, end)
        epoch, epoch_end = leader.end_offset_for(asked.last_fetched_epoch, 9)
        if epoch == asked.last_fetched_epoch and epoch_end >= asked.fetch_offset:
            break
        (action,) = state.take(Answer(0, 5, 0, epoch, epoch_end), 0, end)
        assert isinstance(action, TruncateTo)
        end = action.offset
        own.truncate_from_end(end)
        cuts.append(end)
    assert cuts == [6, 4]
    assert own.entries == [(0, 0)]


def test_a_leader_that_diverges_without_end_is_not_asked_on_and_on() -> None:
    state = follower((0, 0), (2, 20))
    answer = Answer(0, 50, 0, 2, 30)
    assert state.take(answer, 0, 30) == (TruncateTo(30),)
    reason = "a leader that diverges at 30 of epoch 2"
    assert state.take(answer, 0, 30) == (Wait(10, reason, False),)
    assert state.take(answer, 0, 30) == (TruncateTo(30),)
    assert state.take(answer, 0, 30) == (Wait(20, reason, False),)
    assert isinstance(follower((0, 0)).take(Answer(0, 0, 0, 2, -1), 0, 5)[0], Wait)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.UNKNOWN_SERVER_ERROR,
    ],
)
def test_errors_wait_longer_and_longer_and_are_told_once(code: ErrorCode) -> None:
    """What passes in a moment is not told, as with a leader that does not know of its office."""
    state = follower((0, 0))
    answer = Answer(code, records_size=100)
    waits = [state.take(answer, 0, 10)[0] for _ in range(10)]
    assert [wait[0] for wait in waits] == [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]
    assert [wait[2] for wait in waits] == [False] * 5 + [True] + [False] * 4
    other = ErrorCode.UNKNOWN_TOPIC_ID if code != ErrorCode.UNKNOWN_TOPIC_ID else 999
    (wait,) = state.take(Answer(other), 0, 10)
    assert isinstance(wait, Wait)
    assert wait.is_new
    assert state.take(Answer(high_watermark=1), 0, 10) == (SetHighWatermark(1),)
    assert state.take(answer, 0, 10) == (Wait(10, code.name, False),)


def test_records_that_are_refused_again_and_again_do_not_shorten_the_wait() -> None:
    state = follower((0, 0))
    times = []
    for _ in range(4):
        assert Append() in state.take(Answer(high_watermark=0, records_size=100), 0, 10)
        (wait,) = state.append_refused(ErrorCode.CORRUPT_MESSAGE, 10, 10, 0, 10)
        assert isinstance(wait, Wait)
        times.append(wait.time_ms)
    assert times == [10, 20, 40, 80]
    assert Append() in state.take(Answer(high_watermark=0, records_size=100), 0, 12)
    (wait,) = state.append_refused(ErrorCode.CORRUPT_MESSAGE, 12, 12, 0, 12)
    assert wait == Wait(10, "records were refused: CORRUPT_MESSAGE", False)


def test_out_of_range_asks_the_leader() -> None:
    state = follower((0, 0))
    out = Answer(ErrorCode.OFFSET_OUT_OF_RANGE)
    assert state.take(out, 0, 10) == (AskOffsets(),)
    assert state.leader_offsets(20, 30, 10) == (RestartAt(20),)
    assert state.leader_offsets(0, 8, 10) == (TruncateTo(8),)
    assert state.leader_offsets(5, 30, 10) == ()
    assert state.leader_offsets(10, 10, 10) == ()
    assert isinstance(state.leader_offsets(-1, 10, 10)[0], Wait)
    assert isinstance(state.leader_offsets(11, 10, 10)[0], Wait)
    # The same again where nothing has moved: it does not help to ask.
    assert isinstance(state.take(out, 0, 10)[0], Wait)
    assert state.take(out, 0, 11) == (AskOffsets(),)


def test_a_log_that_starts_within_a_batch() -> None:
    state = follower()
    refused = (ErrorCode.OFFSET_OUT_OF_RANGE, 90, 95)
    assert state.append_refused(*refused, 93, 93) == (RestartAt(90),)
    assert state.ask(90, 90).fetch_offset == 93
    assert state.ask(90, 96).fetch_offset == 96
    # Not where the log holds something, or the batch lies elsewhere, or is bad.
    for code, first, last, start, end in [
        (ErrorCode.OFFSET_OUT_OF_RANGE, 90, 95, 92, 93),
        (ErrorCode.OFFSET_OUT_OF_RANGE, 90, 92, 93, 93),
        (ErrorCode.OFFSET_OUT_OF_RANGE, -1, -1, 93, 93),
        (ErrorCode.CORRUPT_MESSAGE, 90, 95, 93, 93),
    ]:
        (wait,) = follower().append_refused(code, first, last, start, end)
        assert isinstance(wait, Wait)


# --- the model -----------------------------------------------------------------------------------


class Record(NamedTuple):
    offset: int
    epoch: int
    value: str


@dataclass
class Replica:
    """A log, its epochs, and the high watermark that it knows."""

    name: str
    log: list[Record] = field(default_factory=list)
    epochs: LeaderEpochCache = field(default_factory=LeaderEpochCache)
    high_watermark: int = 0
    state: FollowerState | None = None

    @property
    def end(self) -> int:
        return self.log[-1].offset + 1 if self.log else 0

    def lead(self, epoch: int) -> None:
        self.epochs.assign(epoch, self.end)
        self.state = None

    def write(self, value: str, epoch: int, gap: int = 0) -> None:
        """`gap`: offsets that compaction took out before it, but never an epoch's first record."""
        if not self.log or self.log[-1].epoch != epoch:
            gap = 0
        self.log.append(Record(self.end + gap, epoch, value))

    def follow(self, epoch: int) -> None:
        self.state = FollowerState(self.epochs, epoch, 1000)

    def truncate(self, offset: int) -> None:
        self.log = [record for record in self.log if record.offset < offset]
        self.epochs.truncate_from_end(offset)
        self.high_watermark = min(self.high_watermark, offset)

    def fetch(self, leader: Replica, most: int = 1000) -> bool:
        """One request and its answer. Returns whether anything happened."""
        assert self.state is not None
        asked = self.state.ask(0, self.end)
        before = (len(self.log), self.epochs.entries)
        answer, records = leader.serve(asked, most)
        for action in self.state.take(answer, 0, self.end):
            match action:
                case TruncateTo(offset):
                    self.truncate(offset)
                case Append():
                    for record in records:
                        self.epochs.assign(record.epoch, record.offset)
                        self.log.append(record)
                case SetHighWatermark(offset):
                    self.high_watermark = min(offset, self.end)
                case _:
                    raise AssertionError(action)
        return before != (len(self.log), self.epochs.entries)

    def serve(self, asked: Ask, most: int) -> tuple[Answer, list[Record]]:
        if asked.last_fetched_epoch >= 0:
            epoch, end = self.epochs.end_offset_for(asked.last_fetched_epoch, self.end)
            assert epoch >= 0, "a leader has an epoch above all of its followers'"
            if epoch < asked.last_fetched_epoch or end < asked.fetch_offset:
                return Answer(0, self.high_watermark, 0, epoch, end), []
        records = [record for record in self.log if record.offset >= asked.fetch_offset][:most]
        return Answer(0, self.high_watermark, 0, records_size=len(records)), records


def come_back(replica: Replica, leader: Replica | None, epoch: int, by_epochs: bool) -> None:
    """A replica starts anew. Without epochs it cuts at the high watermark that it knows, at once;
    with them it asks the leader, if there is one.
    """
    if not by_epochs:
        replica.truncate(replica.high_watermark)
    if leader is not None:
        replica.follow(epoch)
        while by_epochs and replica.fetch(leader, 0):
            pass


def values(replica: Replica) -> list[str]:
    return [record.value for record in replica.log]


@pytest.mark.parametrize("by_epochs", [False, True])
def test_high_watermark_truncation_loses_what_was_acknowledged(by_epochs: bool) -> None:
    """KIP-101, scenario 1: the follower has m2, but not yet heard that it is committed."""
    a, b = Replica("a"), Replica("b")
    b.lead(0)
    b.write("m1", 0)
    a.follow(0)
    a.fetch(b)
    b.high_watermark = 1
    b.write("m2", 0)
    a.fetch(b)
    b.high_watermark = 2  # both have it: m2 is acknowledged
    acknowledged = ["m1", "m2"]
    assert a.high_watermark == 1
    come_back(a, b, 0, by_epochs)
    # b dies before a has fetched again; a, in the in-sync set, leads.
    a.lead(1)
    a.high_watermark = a.end
    come_back(b, a, 1, by_epochs)
    while b.fetch(a):
        pass
    if by_epochs:
        assert values(a) == values(b) == acknowledged
    else:
        assert values(a) == ["m1"]  # m2 is gone from the leader, and from everywhere but b


@pytest.mark.parametrize("by_epochs", [False, True])
def test_high_watermark_truncation_forks_the_log(by_epochs: bool) -> None:
    """KIP-101, scenario 2: both lose power; the one with less is back first, and leads."""
    a, b = Replica("a"), Replica("b")
    a.lead(0)
    a.write("m1", 0)
    b.follow(0)
    b.fetch(a)
    a.write("m2", 0)
    a.high_watermark = 2  # b had it too, but not on its disk
    b.high_watermark = 1
    come_back(b, None, 0, by_epochs)
    b.lead(1)
    b.write("m3", 1)
    b.high_watermark = b.end
    come_back(a, b, 1, by_epochs)
    if not by_epochs:
        a.follow(1)
        a.state = FollowerState(LeaderEpochCache(), 1, 1000)  # names no epoch
    while a.fetch(b):
        pass
    assert values(b) == ["m1", "m3"]
    assert values(a) == (["m1", "m3"] if by_epochs else ["m1", "m2"])  # two at one offset


def test_a_follower_learns_what_it_may_acknowledge() -> None:
    """The high watermark is the leader's, but never beyond its own end."""
    leader, other = Replica("a"), Replica("b")
    leader.lead(0)
    for value in "abcd":
        leader.write(value, 0)
    leader.high_watermark = 3
    other.follow(0)
    other.fetch(leader, 2)
    assert (other.end, other.high_watermark) == (2, 2)
    other.fetch(leader, 2)
    assert (other.end, other.high_watermark) == (4, 3)


def agree(a: Replica, b: Replica) -> bool:
    """Where both have the same epoch at one offset, everything before is the same (which holds of
    every pair at all times, or followers could not be cut by epochs)."""
    shared = {r[:2] for r in a.log} & {r[:2] for r in b.log}
    if not shared:
        return True
    last = max(shared)[0]
    return [r for r in a.log if r.offset <= last] == [r for r in b.log if r.offset <= last]


@given(seed=st.integers(0, 2**32))
def test_any_interleaving_keeps_logs_prefixes_of_their_leaders(seed: int) -> None:
    """Appends (with gaps), fetches of any size, elections of any replica, restarts that lose the
    end of a log: a follower that fetched is a prefix of its leader once nothing diverges."""
    rng = random.Random(seed)
    replicas = [Replica(str(i)) for i in range(3)]
    leader, epoch = replicas[0], 0
    leader.lead(0)
    for step in range(rng.randrange(5, 60)):
        event = rng.random()
        other = rng.choice([one for one in replicas if one is not leader])
        if event < 0.35:
            leader.write(f"{leader.name}-{step}", epoch, rng.choice([0, 0, 0, 1, 5]))
        elif event < 0.75:
            if other.state is None or other.state.leader_epoch != epoch:
                other.follow(epoch)
            if not other.fetch(leader, rng.randrange(5)) or rng.random() < 0.5:
                while other.fetch(leader):
                    pass
                assert other.log == leader.log
                assert not leader.log or other.epochs.entries == [
                    entry for entry in leader.epochs.entries if entry.start_offset < leader.end
                ]
        elif event < 0.9:
            epoch += rng.randrange(1, 3)
            leader = other
            leader.lead(epoch)
        else:
            other.truncate(rng.randrange(other.end + 1))
            other.follow(epoch)
        for i, one in enumerate(replicas):
            assert all(agree(one, another) for another in replicas[i + 1 :])
            assert one.high_watermark <= one.end
