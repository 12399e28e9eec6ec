"""What a follower does about one partition: which records it asks for, and what an answer of the
leader makes it do.

Pure: offsets and the log's leader epochs come in, actions go out, in the order in which they have
to be done; no I/O, no clock. Whoever carries them out (`followed`, a simulator) asks anew when the
last one is done. One FollowerState for one life: of this log, under one leader epoch.

A follower's end is cut where its history and the leader's part, and nowhere else: each request
names the epoch of the follower's last record, and a leader whose history has no such record there
answers where that epoch, or the one before it, ended (KIP-101, 279, 595). The high watermark says
nothing about that: a follower learns of it late, and may have acknowledged what lies behind the one
that it knows; and what lies before it can have been replaced after an unclean election.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol, TypeAlias

from tidelog.limits import REPLICA_WAIT_FIRST_MS, REPLICA_WAITS_QUIET
from tidelog.protocol.error_codes import ErrorCode
from tidelog.storage.leader_epochs import EpochEnd


class EpochCache(Protocol):
    """The leader epochs of the follower's own log (storage.leader_epochs.LeaderEpochCache)."""

    @property
    def latest_epoch(self) -> int: ...

    def end_offset_for(self, epoch: int, log_end_offset: int) -> EpochEnd: ...


class Answer(Protocol):
    """What the leader's answer says about the partition (native: FetchedPart)."""

    @property
    def error_code(self) -> int: ...

    @property
    def high_watermark(self) -> int: ...

    @property
    def log_start_offset(self) -> int: ...

    @property
    def diverging_epoch(self) -> int: ...

    @property
    def diverging_end_offset(self) -> int: ...

    @property
    def records_size(self) -> int: ...


class Ask(NamedTuple):
    """What the next request says about the partition; -1: no epoch is known, none is checked."""

    fetch_offset: int
    last_fetched_epoch: int
    current_leader_epoch: int
    log_start_offset: int


class Append(NamedTuple):
    """Append the answer's records, unchanged. What the log refuses goes to append_refused()."""


class SetHighWatermark(NamedTuple):
    """The leader's high watermark; the follower's is that or its log's end, whichever is less."""

    offset: int


class AdvanceLogStart(NamedTuple):
    """Everything below was removed by the leader. At most the log's end."""

    offset: int


class TruncateTo(NamedTuple):
    """Remove what lies from that offset on, and every leader epoch that begins there or later."""

    offset: int


class RestartAt(NamedTuple):
    """Remove everything; the next record has that offset."""

    offset: int


class AskOffsets(NamedTuple):
    """Ask the leader where its log begins and ends; the answer goes to leader_offsets()."""


class Wait(NamedTuple):
    """Ask again after so long. `is_new`: it has waited for some time, and this reason was not told
    yet (a line in the log)."""

    time_ms: int
    reason: str
    is_new: bool


Action: TypeAlias = (
    Append | SetHighWatermark | AdvanceLogStart | TruncateTo | RestartAt | AskOffsets | Wait
)

APPEND: Final = Append()
ASK_OFFSETS: Final = AskOffsets()

NO_ERROR: Final = 0


class FollowerState:
    """One partition. `backoff_ms`: replica.fetch.backoff.ms."""

    def __init__(self, epochs: EpochCache, leader_epoch: int, backoff_ms: int) -> None:
        self._epochs = epochs
        self.leader_epoch = leader_epoch
        self._backoff_ms = backoff_ms
        #: Why it waits; None: the last answer was a good one.
        self.waits_for: str | None = None
        self._waits = 0  # in a row, without anything that was gained between them
        self._told: str | None = None
        self._end = -1  # of the log, at the last answer
        # Where the log stood (end, last epoch) when the leader last said that it diverges or is out
        # of range: the same again would go on for ever.
        self._refused_at: tuple[int, int] | None = None
        # Where an empty log asks from that begins before it: see append_refused().
        self._within_batch = -1

    def ask(self, log_start_offset: int, log_end_offset: int) -> Ask:
        """What to ask for when everything before is done."""
        fetch_offset = log_end_offset
        if log_start_offset == log_end_offset:
            fetch_offset = max(log_end_offset, self._within_batch)
        return Ask(fetch_offset, self._epochs.latest_epoch, self.leader_epoch, log_start_offset)

    def take(
        self, answer: Answer, log_start_offset: int, log_end_offset: int
    ) -> tuple[Action, ...]:
        """What an answer means for the log, whose ends are given."""
        gained, self._end = log_end_offset > self._end, log_end_offset
        if answer.error_code != NO_ERROR:
            return self._failed(answer.error_code, log_end_offset)
        if answer.diverging_epoch >= 0:
            return self._diverged(
                answer.diverging_epoch, answer.diverging_end_offset, log_end_offset
            )
        self.waits_for = self._refused_at = None
        if gained or answer.records_size == 0:
            # (Records may be refused, again and again.)
            self._waits, self._told = 0, None
        actions: list[Action] = []
        if answer.records_size > 0:
            actions.append(APPEND)
        if answer.high_watermark >= 0:
            actions.append(SetHighWatermark(answer.high_watermark))
        if answer.log_start_offset > log_start_offset:
            actions.append(AdvanceLogStart(answer.log_start_offset))
        return tuple(actions)

    def leader_offsets(self, start: int, end: int, log_end_offset: int) -> tuple[Action, ...]:
        """The leader's log begins and ends there (ends exclusive)."""
        if not 0 <= start <= end:
            return (self.wait(f"a leader whose log begins at {start} and ends at {end}"),)
        if log_end_offset > end:
            # The leader knows none of our epochs, or it had told where they part.
            return (TruncateTo(end),)
        if log_end_offset < start:
            self._within_batch = -1
            return (RestartAt(start),)
        return ()  # it has moved meanwhile

    def append_refused(
        self,
        error_code: int,
        base_offset: int,
        last_offset: int,
        log_start_offset: int,
        log_end_offset: int,
    ) -> tuple[Action, ...]:
        """The log did not take a batch with these offsets (-1: they could not be read)."""
        if (
            error_code == ErrorCode.OFFSET_OUT_OF_RANGE
            and log_start_offset == log_end_offset
            and 0 <= base_offset < log_end_offset <= last_offset
        ):
            # The leader's log starts within a batch (DeleteRecords), which is taken whole: the log
            # begins with it, but what is asked for is what the leader has.
            self._within_batch = log_end_offset
            return (RestartAt(base_offset),)
        return (self.wait(f"records were refused: {_name_of(error_code)}"),)

    def wait(self, reason: str) -> Wait:
        """Something is in the way that time may remove.

        Mostly a short one: a follower may hear of a leader before that one does, and what is
        acknowledged by all waits for it. So the first waits are short and say nothing.
        """
        self.waits_for = reason
        time_ms = min(self._backoff_ms, REPLICA_WAIT_FIRST_MS << min(self._waits, 16))
        self._waits += 1
        is_new = self._waits > REPLICA_WAITS_QUIET and self._told != reason
        if is_new:
            self._told = reason
        return Wait(time_ms, reason, is_new)

    def _failed(self, error_code: int, log_end_offset: int) -> tuple[Action, ...]:
        if error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
            if self._stands_still(log_end_offset):
                return (self.wait(_name_of(error_code)),)
            return (ASK_OFFSETS,)
        # Another leader, or another epoch of this one, is told by the metadata; a leader that does
        # not know of its office yet, or whose disk is full, will answer later.
        return (self.wait(_name_of(error_code)),)

    def _diverged(self, epoch: int, end_offset: int, log_end_offset: int) -> tuple[Action, ...]:
        """The leader's history has `epoch` up to `end_offset`, and of the follower's last epoch
        nothing, or less.

        Of our own epochs the largest one that is not above `epoch` is the last that can be shared.
        What lies behind its end, or behind the end of the leader's, is in no common history.
        """
        if end_offset < 0 or self._stands_still(log_end_offset):
            return (self.wait(f"a leader that diverges at {end_offset} of epoch {epoch}"),)
        own = self._epochs.end_offset_for(epoch, log_end_offset)
        cut = min(end_offset, log_end_offset)
        if own.end_offset >= 0:
            cut = min(cut, own.end_offset)
        return (TruncateTo(cut),)

    def _stands_still(self, log_end_offset: int) -> bool:
        place = (log_end_offset, self._epochs.latest_epoch)
        if place == self._refused_at:
            self._refused_at = None
            return True
        self._refused_at = place
        return False


def _name_of(error_code: int) -> str:
    try:
        return ErrorCode(error_code).name
    except ValueError:
        return f"error {error_code}"
