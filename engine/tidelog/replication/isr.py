"""The ISR of one partition as its leader knows it. Pure: decides from what it is told, does no I/O.

Only the controller changes an ISR; the leader proposes. Between a proposal and its answer the
leader doesn't know which of the two sets holds, so it reckons with the larger one (`maximal`): who
may be in the ISR already holds up the high watermark, and who may be in it still does.

| state | what is known |
|---|---|
| Committed | the ISR is `isr` |
| PendingExpand | the ISR is `isr` or `isr` with `added` |
| PendingShrink | the ISR is `isr` or `isr` without `removed` |

One change is under way for a partition. It ends with a definite answer, or when the metadata shows
a later partition epoch; without an answer it is proposed again, for it may have taken effect.
Source: Kafka's Partition (KIP-497), KIP-903.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tidelog.protocol.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class Committed:
    """The controller has committed this ISR."""

    isr: tuple[int, ...]

    @property
    def maximal(self) -> tuple[int, ...]:
        return self.isr


@dataclass(frozen=True, slots=True)
class PendingExpand:
    """`added` has caught up and is to join."""

    isr: tuple[int, ...]
    added: int

    @property
    def maximal(self) -> tuple[int, ...]:
        return (*self.isr, self.added)

    @property
    def proposed(self) -> tuple[int, ...]:
        return self.maximal


@dataclass(frozen=True, slots=True)
class PendingShrink:
    """`removed` lag behind and are to leave."""

    isr: tuple[int, ...]
    removed: tuple[int, ...]

    @property
    def maximal(self) -> tuple[int, ...]:
        return self.isr

    @property
    def proposed(self) -> tuple[int, ...]:
        return tuple(node for node in self.isr if node not in self.removed)


IsrState = Committed | PendingExpand | PendingShrink


class Verdict(Enum):
    """What an answer means for the proposal."""

    #: The change holds.
    TAKEN = "taken"
    #: It was refused and never takes effect: the committed ISR is what it was.
    REFUSED = "refused"
    #: The leader's view is old: what holds comes with the metadata; until then the larger set.
    OUTDATED = "outdated"
    #: It may have been carried out or not: ask again.
    UNKNOWN = "unknown"


_REFUSED: Final = frozenset((ErrorCode.INELIGIBLE_REPLICA, ErrorCode.OPERATION_NOT_ATTEMPTED))
_OUTDATED: Final = frozenset(
    (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.NEW_LEADER_ELECTED,
    )
)


def verdict_of(error_code: int) -> Verdict:
    """What the controller's code for one partition says."""
    if error_code == ErrorCode.NONE:
        return Verdict.TAKEN
    if error_code in _REFUSED:
        return Verdict.REFUSED
    if error_code in _OUTDATED:
        return Verdict.OUTDATED
    return Verdict.UNKNOWN


class LeaderIsr:
    """The state of one partition in one leader epoch."""

    def __init__(self, isr: tuple[int, ...], leader_epoch: int, partition_epoch: int) -> None:
        self.state: IsrState = Committed(isr)
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch

    def __repr__(self) -> str:
        return f"<LeaderIsr {self.state} epoch {self.leader_epoch}.{self.partition_epoch}>"

    def expand(self, node_id: int) -> PendingExpand | None:
        """Proposes that the node joins; None when there is nothing to propose now."""
        if not isinstance(self.state, Committed) or node_id in self.state.isr:
            return None
        self.state = PendingExpand(self.state.isr, node_id)
        return self.state

    def shrink(self, leader_id: int, lagging: Collection[int]) -> PendingShrink | None:
        """Proposes that those leave (never the leader); None when there is nothing to propose."""
        if not isinstance(self.state, Committed):
            return None
        removed = tuple(node for node in self.state.isr if node in lagging and node != leader_id)
        if not removed:
            return None
        self.state = PendingShrink(self.state.isr, removed)
        return self.state

    def on_metadata(self, isr: tuple[int, ...], partition_epoch: int) -> bool:
        """What the metadata shows in this leader epoch. Returns whether it was news."""
        if partition_epoch <= self.partition_epoch:
            return False
        self.partition_epoch = partition_epoch
        self.state = Committed(isr)
        return True

    def on_answer(
        self, proposal: PendingExpand | PendingShrink, error_code: int, isr: tuple[int, ...],
        partition_epoch: int,
    ) -> Verdict:  # fmt: skip
        """The controller's answer to a proposal; isr and partition_epoch: what holds now.

        An answer that comes after its proposal has ended otherwise changes nothing.
        """
        verdict = verdict_of(error_code)
        if self.state is not proposal:
            return Verdict.OUTDATED
        if verdict is Verdict.TAKEN:
            # (The metadata may have shown it, or more, before: then the state is another.)
            self.partition_epoch = max(self.partition_epoch, partition_epoch)
            self.state = Committed(isr)
        elif verdict is Verdict.REFUSED:
            self.state = Committed(proposal.isr)
        return verdict
