"""The states of a classic group, after Kafka's group coordinator.

EMPTY
    No members; perhaps offsets. Groups used for offsets alone stay here.
    action: JoinGroup from new members is taken; SyncGroup, Heartbeat, LeaveGroup:
    UNKNOWN_MEMBER_ID; OffsetFetch answers; OffsetCommit of
    clients without membership is taken, of members refused with UNKNOWN_MEMBER_ID
    transition: a member joins -> PREPARING_REBALANCE; the group is removed -> DEAD

PREPARING_REBALANCE
    Members are asked (by REBALANCE_IN_PROGRESS) to join again; their JoinGroups wait.
    action: Heartbeat, SyncGroup: REBALANCE_IN_PROGRESS; JoinGroup waits; LeaveGroup removes;
    OffsetCommit of the old generation is taken
    transition: everybody joined, or the rebalance timeout -> COMPLETING_REBALANCE; all members
    left -> EMPTY

COMPLETING_REBALANCE
    The new generation is known; the leader's assignment is awaited.
    action: SyncGroup waits for the leader's; Heartbeat is taken; JoinGroup with the same
    protocols is answered again, with others starts over;
    OffsetCommit: REBALANCE_IN_PROGRESS
    transition: the assignment is written -> STABLE; a member joins, leaves or is lost ->
    PREPARING_REBALANCE

STABLE
    action: SyncGroup answers with the assignment; Heartbeat, OffsetCommit are taken; JoinGroup of
    the leader, or with other protocols, starts over,
    others are answered with the present generation
    transition: a member joins, leaves or is lost -> PREPARING_REBALANCE

DEAD
    Removed; only requests that were on their way still see it.
    action: everything: COORDINATOR_NOT_AVAILABLE; OffsetFetch: no offsets
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class GroupState(Enum):
    """Names as Kafka shows them."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


#: From which states each may be entered; everything else is our own mistake.
PREVIOUS_STATES: Final[dict[GroupState, frozenset[GroupState]]] = {
    GroupState.EMPTY: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.PREPARING_REBALANCE: frozenset(
        {GroupState.STABLE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY}
    ),
    GroupState.COMPLETING_REBALANCE: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.STABLE: frozenset({GroupState.COMPLETING_REBALANCE}),
    GroupState.DEAD: frozenset(
        {
            GroupState.STABLE,
            GroupState.PREPARING_REBALANCE,
            GroupState.COMPLETING_REBALANCE,
            GroupState.EMPTY,
        }
    ),
}
