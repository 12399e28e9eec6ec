"""The classic group protocol, request by request."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.promise import Promise
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment


def one(harness: ShardHarness) -> tuple[str, int]:
    (member,), generation = harness.stable("")
    return member, generation


def pair(harness: ShardHarness) -> tuple[list[str], int]:
    """Two members in one stable generation."""
    first, _ = one(harness)
    second = harness.join()
    assert isinstance(second, Promise) and not second.done
    answer = harness.join(first)
    ids = [first, second.value.member_id]
    assert second.value.leader == first == answer.leader
    harness.sync(ids[1], 2)
    assert harness.sync(first, 2, {m: m.encode() for m in ids}).error_code == 0
    return ids, 2


@pytest.mark.parametrize("code", [0, 15])
def test_an_assignment_is_told_when_it_is_committed(code: int) -> None:
    """In the log it may yet be lost with this coordinator, and the next one gives others the same
    generation.
    """
    h = ShardHarness()
    first, _ = one(h)
    second = h.join()
    h.join(first)
    ids = [first, second.value.member_id]
    follower = h.sync(ids[1], 2)
    request = SyncGroupRequest(
        group_id="g",
        generation_id=2,
        member_id=first,
        assignments=[SyncGroupRequestAssignment(member_id=m, assignment=m.encode()) for m in ids],
    )
    result = h.shard.sync(request, h.now_ms)
    for record in result.records:
        h.shard.replay(record)
    result.on_written(0)
    assert not follower.done
    assert h.shard.groups["g"].state is GroupState.COMPLETING_REBALANCE
    result.on_committed(code)
    assert follower.value.error_code == code
    assert follower.value.assignment == (ids[1].encode() if code == 0 else b"")
    expected = GroupState.PREPARING_REBALANCE if code else GroupState.STABLE
    assert h.shard.groups["g"].state is expected


def test_one_consumer_joins_at_once_and_gets_its_assignment() -> None:
    h = ShardHarness()
    answer = h.join()
    assert (answer.error_code, answer.generation_id, answer.protocol_name) == (0, 1, "range")
    assert answer.leader == answer.member_id
    assert answer.member_id.startswith("c-")
    assert [m.metadata for m in answer.members] == [b"m"]
    synced = h.sync(answer.member_id, 1, {answer.member_id: b"all"})
    assert (synced.error_code, synced.assignment) == (0, b"all")
    assert h.heartbeat(answer.member_id, 1) == 0
    assert h.shard.groups["g"].state is GroupState.STABLE


def test_a_new_member_is_told_its_id_first() -> None:
    h = ShardHarness()
    first = h.join(known_id=True)
    assert first.error_code == 79
    assert h.join(first.member_id, known_id=True).generation_id == 1
    pending = h.join(known_id=True)
    assert pending.error_code == 79
    h.advance(10_001)  # It never came back; nobody waits for it.
    assert h.shard.groups["g"].pending_members == set()


def test_a_client_id_that_leaves_no_room_for_the_member_id() -> None:
    h = ShardHarness()
    for known_id in (True, False):
        assert h.join(client="x" * 32_731, known_id=known_id).error_code == 42
    assert h.shard.groups["g"].is_disposable
    answer = h.join(client="x" * 32_730)
    assert (answer.error_code, len(answer.member_id)) == (0, 0x7FFF)


def test_a_second_member_starts_a_round_that_waits_for_the_first() -> None:
    h = ShardHarness()
    ids, generation = pair(h)
    group = h.shard.groups["g"]
    assert (group.state, group.generation_id) == (GroupState.STABLE, generation)
    assert [group.members[m].assignment for m in ids] == [m.encode() for m in ids]


def test_members_learn_of_a_round_by_their_heartbeats() -> None:
    h = ShardHarness()
    member, generation = one(h)
    h.join()
    assert h.heartbeat(member, generation) == 27
    assert h.sync(member, generation) == 27


def test_who_does_not_come_back_is_out_after_the_rebalance_timeout() -> None:
    h = ShardHarness()
    member, generation = one(h)
    second = h.join()
    while not second.done:
        h.advance(5_000)
        h.heartbeat(member, generation)
    assert second.value.generation_id == 2
    assert h.heartbeat(member, generation) == 25


def test_a_session_that_ends_starts_a_round() -> None:
    h = ShardHarness()
    ids, generation = pair(h)
    for _ in range(3):
        h.advance(4_000)
        h.heartbeat(ids[0], generation)
    assert h.heartbeat(ids[0], generation) == 27
    answer = h.join(ids[0])
    assert [m.member_id for m in answer.members] == [ids[0]]


def test_leaving_starts_a_round_and_the_last_one_leaves_it_empty() -> None:
    h = ShardHarness()
    ids, generation = pair(h)
    left = h.leave((ids[0], None), ("nobody", None))
    assert [m.error_code for m in left.members] == [0, 25]
    assert h.heartbeat(ids[1], generation) == 27
    again = h.join(ids[1])
    assert again.leader == ids[1]
    assert h.leave((ids[1], None), version=1).error_code == 0
    assert h.shard.groups["g"].state is GroupState.EMPTY
    assert h.leave((ids[1], None), version=1).error_code == 25


def test_refusals() -> None:
    h = ShardHarness(max_size=1)
    assert h.join(group="").error_code == 24
    assert h.join("unknown").error_code == 25
    assert h.join(session_timeout_ms=1).error_code == 26
    assert h.join(protocols=()).error_code == 23
    member, generation = one(h)
    assert h.join(protocols=("sticky",)).error_code == 81
    assert h.join(member, protocol_type="connect").error_code == 23
    assert h.sync(member, generation + 1) == 22
    assert h.sync("nobody", generation) == 25
    assert h.sync(member, generation, protocol_name="sticky") == 23
    assert h.heartbeat(member, generation + 1) == 22
    assert h.heartbeat("nobody", generation) == 25
    assert h.heartbeat(member, generation, group="other") == 25
    assert h.heartbeat(member, generation, group="") == 24


def test_protocols_must_have_one_in_common_and_most_votes_win() -> None:
    h = ShardHarness()
    first = h.join(protocols=("a", "b"))
    assert h.join(protocols=("c",)).error_code == 23
    second = h.join(protocols=("b", "c"))
    h.join(first.member_id, protocols=("a", "b"))
    assert second.value.protocol_name == "b"


def test_a_leader_that_joins_again_starts_over_a_follower_does_not() -> None:
    h = ShardHarness()
    ids, generation = pair(h)
    follower = h.join(ids[1])
    assert (follower.generation_id, follower.members) == (generation, [])
    leader = h.join(ids[0])
    assert isinstance(leader, Promise)
    assert h.heartbeat(ids[1], generation) == 27


def test_a_repeated_join_answers_the_older_request() -> None:
    h = ShardHarness()
    one(h)
    waiting = h.join()
    member = next(m for m in h.shard.groups["g"].members.values() if m.joining is waiting)
    again = h.join(member.member_id)
    assert waiting.value.error_code == 27
    assert isinstance(again, Promise) and not again.done


def test_a_member_that_never_syncs_is_out() -> None:
    h = ShardHarness()
    first = h.join()
    second = h.join()
    h.join(first.member_id)
    waiting = h.sync(second.value.member_id, 2)
    for _ in range(13):
        h.advance(5_000)
        h.heartbeat(first.member_id, 2)
    assert waiting.value.error_code == 27
    assert first.member_id not in h.shard.groups["g"].members


def test_a_failed_write_of_the_assignment_starts_over() -> None:
    h = ShardHarness()
    answer = h.join()
    h.fail_writes = 16
    assert h.sync(answer.member_id, 1, {answer.member_id: b"x"}) == 16
    h.fail_writes = 0
    assert h.shard.groups["g"].state is GroupState.PREPARING_REBALANCE
    assert h.join(answer.member_id).generation_id == 2


def test_the_initial_delay_gathers_members() -> None:
    h = ShardHarness(initial_rebalance_delay_ms=3_000)
    first = h.join()
    assert not first.done
    h.advance(2_000)
    second = h.join()
    h.advance(1_500)
    assert not first.done  # Somebody came: it waits once more.
    h.advance(3_000)
    assert first.value.generation_id == second.value.generation_id == 1
    assert len(first.value.members) == 2


# -- static members (KIP-345) -------------------------------------------------------------------


def static(h: ShardHarness, *, skip: bool = True) -> tuple[str, int]:
    answer = h.join(instance="i", skip=skip)
    h.sync(answer.member_id, answer.generation_id, {answer.member_id: b"mine"}, instance="i")
    return answer.member_id, answer.generation_id


@pytest.mark.parametrize("skip", [True, False])
def test_a_static_member_restarts_without_a_round(skip: bool) -> None:
    h = ShardHarness()
    old, generation = static(h)
    answer = h.join(instance="i", skip=skip)
    assert answer.generation_id == generation
    assert answer.member_id != old
    assert answer.skip_assignment is skip
    assert answer.leader == (answer.member_id if skip else old)
    synced = h.sync(answer.member_id, generation, instance="i")
    assert synced.assignment == b"mine"
    assert h.heartbeat(old, generation, instance="i") == 82
    assert h.commit(1, member_id=old, generation_id=generation, instance="i") == 82


def test_a_static_member_with_other_topics_starts_a_round() -> None:
    h = ShardHarness()
    _, generation = static(h)
    answer = h.join(instance="i", metadata=b"other")
    assert answer.generation_id == generation + 1


def test_a_static_member_is_taken_out_by_its_instance() -> None:
    h = ShardHarness()
    member, _ = static(h)
    assert h.leave(("other", "i")).members[0].error_code == 82
    assert h.leave(("", "nobody")).members[0].error_code == 25
    assert h.leave(("", "i")).members[0].error_code == 0
    assert member not in h.shard.groups["g"].members


# -- offsets and reloading ----------------------------------------------------------------------


def test_commits_need_membership_when_there_are_members() -> None:
    h = ShardHarness()
    assert h.committed() == -1
    assert h.commit(5) == 0  # without a group, by an assigned consumer
    assert h.committed() == 5
    assert h.commit(5, generation_id=1, group="other") == 22
    assert h.commit(5, generation_id=1, group="other", version=9) == 69
    member, generation = one(h)
    assert h.commit(6) == 25
    assert h.commit(6, member_id=member, generation_id=generation) == 0
    assert h.commit(7, member_id=member, generation_id=generation + 1) == 22
    assert h.commit(7, member_id="nobody", generation_id=generation) == 25
    assert h.committed() == 6
    h.join()  # a round begins: the old generation may still commit
    assert h.commit(8, member_id=member, generation_id=generation) == 0
    answer = h.join(member)
    assert h.commit(9, member_id=member, generation_id=answer.generation_id) == 27


def test_metadata_is_bounded_and_kept() -> None:
    h = ShardHarness(offset_metadata_max_bytes=4)
    assert h.commit(1, metadata="abcde") == 12
    assert h.commit(1, metadata=None) == 0
    assert h.commit(2, metadata="abcd") == 0
    found = h.shard.offsets.get("g", "t", 0)
    assert found is not None
    assert (found.offset, found.metadata, found.leader_epoch) == (2, "abcd", 3)


def test_a_reloaded_shard_goes_on_where_the_old_one_was() -> None:
    h = ShardHarness()
    ids, generation = pair(h)
    h.commit(42, member_id=ids[0], generation_id=generation)
    waiting = h.join()
    h.reload()
    assert waiting.value.error_code == 16
    assert h.committed() == 42
    for member in ids:
        assert h.heartbeat(member, generation) == 0
        assert h.sync(member, generation).assignment == member.encode()
    h.advance(10_001)  # and their sessions run
    assert h.shard.groups["g"].state is GroupState.EMPTY
