"""The leader's view of an ISR: proposals, answers, metadata."""

from __future__ import annotations

import pytest

from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication.isr import (
    Committed,
    LeaderIsr,
    PendingExpand,
    PendingShrink,
    Verdict,
    verdict_of,
)


def test_an_expansion_counts_from_its_proposal_on() -> None:
    isr = LeaderIsr((1, 2), 5, 7)
    proposal = isr.expand(3)
    assert proposal == isr.state == PendingExpand((1, 2), 3)
    assert (proposal.proposed, proposal.maximal) == ((1, 2, 3), (1, 2, 3))
    assert isr.on_answer(proposal, 0, (1, 2, 3), 8) is Verdict.TAKEN
    assert (isr.state, isr.partition_epoch) == (Committed((1, 2, 3)), 8)


def test_a_shrink_counts_from_its_answer_on() -> None:
    isr = LeaderIsr((1, 2, 3), 5, 7)
    proposal = isr.shrink(1, [3, 2, 9])
    assert proposal == PendingShrink((1, 2, 3), (2, 3))
    assert (proposal.proposed, proposal.maximal) == ((1,), (1, 2, 3))
    assert isr.on_answer(proposal, 0, (1,), 8) is Verdict.TAKEN
    assert isr.state == Committed((1,))


def test_nothing_to_propose() -> None:
    isr = LeaderIsr((1, 2), 5, 7)
    assert isr.expand(2) is None
    assert isr.shrink(1, []) is None
    assert isr.shrink(1, [1]) is None  # never the leader itself
    assert isr.shrink(1, [3]) is None
    pending = isr.expand(3)
    assert isr.expand(4) is None  # one at a time
    assert isr.shrink(1, [2]) is None
    assert isr.state is pending


@pytest.mark.parametrize(
    ("code", "verdict", "maximal"),
    [
        (ErrorCode.INELIGIBLE_REPLICA, Verdict.REFUSED, (1, 2)),
        (ErrorCode.OPERATION_NOT_ATTEMPTED, Verdict.REFUSED, (1, 2)),
        (ErrorCode.FENCED_LEADER_EPOCH, Verdict.OUTDATED, (1, 2, 3)),
        (ErrorCode.INVALID_UPDATE_VERSION, Verdict.OUTDATED, (1, 2, 3)),
        (ErrorCode.INVALID_REQUEST, Verdict.OUTDATED, (1, 2, 3)),
        (ErrorCode.UNKNOWN_TOPIC_ID, Verdict.OUTDATED, (1, 2, 3)),
        (ErrorCode.NEW_LEADER_ELECTED, Verdict.OUTDATED, (1, 2, 3)),
        (ErrorCode.STALE_BROKER_EPOCH, Verdict.UNKNOWN, (1, 2, 3)),
        (ErrorCode.REQUEST_TIMED_OUT, Verdict.UNKNOWN, (1, 2, 3)),
        (ErrorCode.UNKNOWN_SERVER_ERROR, Verdict.UNKNOWN, (1, 2, 3)),
    ],
)
def test_refusals(code: ErrorCode, verdict: Verdict, maximal: tuple[int, ...]) -> None:
    """Only what certainly never takes effect lets go of the replica that was to join."""
    isr = LeaderIsr((1, 2), 5, 7)
    proposal = isr.expand(3)
    assert proposal is not None
    assert verdict_of(code) is verdict
    assert isr.on_answer(proposal, code, (), -1) is verdict
    assert (isr.state.maximal, isr.partition_epoch) == (maximal, 7)


def test_a_shrink_whose_answer_is_not_known_still_waits_for_the_replica() -> None:
    isr = LeaderIsr((1, 2), 5, 7)
    proposal = isr.shrink(1, [2])
    assert proposal is not None
    assert isr.on_answer(proposal, ErrorCode.REQUEST_TIMED_OUT, (), -1) is Verdict.UNKNOWN
    assert (isr.state, isr.state.maximal) == (proposal, (1, 2))


def test_metadata_ends_what_is_pending() -> None:
    isr = LeaderIsr((1, 2), 5, 7)
    proposal = isr.expand(3)
    assert proposal is not None
    assert not isr.on_metadata((1, 2), 7)  # known already: the proposal still stands
    assert isr.state is proposal
    assert isr.on_metadata((1,), 9)
    assert (isr.state, isr.partition_epoch) == (Committed((1,)), 9)
    # The answer comes late.
    assert isr.on_answer(proposal, 0, (1, 2, 3), 8) is Verdict.OUTDATED
    assert (isr.state, isr.partition_epoch) == (Committed((1,)), 9)
    assert not isr.on_metadata((1, 2, 3), 8)
