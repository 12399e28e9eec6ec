"""What groups may hold in memory: of one member, of one group, of a node."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog import limits
from tidelog.coordinator.group import memory
from tidelog.coordinator.group.memory import GroupMemory, MemoryLimitError
from tidelog.coordinator.promise import Promise
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupRequest
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

TOO_LARGE = ErrorCode.MESSAGE_TOO_LARGE
FULL = ErrorCode.GROUP_MAX_SIZE_REACHED
MIB = 1 << 20
#: Nearly as much as one member may have; every member of a test says the same bytes.
LARGE = bytes(limits.GROUP_MEMBER_BYTES_MAX - 64 * 1024)


def held(h: ShardHarness) -> int:
    return h.shard.registry.held_bytes


def refused(call: Any) -> ErrorCode:
    with pytest.raises(MemoryLimitError) as caught:
        call()
    assert caught.value.message
    return ErrorCode(caught.value.error_code)


def test_one_member() -> None:
    h = ShardHarness()
    for protocols, metadata in (
        (("range",), bytes(limits.GROUP_MEMBER_BYTES_MAX)),
        (("range", "roundrobin"), bytes(limits.GROUP_MEMBER_BYTES_MAX // 2)),
        (("x" * limits.GROUP_MEMBER_BYTES_MAX,), b""),
        # A byte on the wire each, but for one that makes all of them four bytes in memory.
        (("x" * (limits.GROUP_MEMBER_BYTES_MAX // 4) + "\U0001f300",), b""),
    ):
        answer = h.join(protocols=protocols, metadata=metadata)
        assert (answer.error_code, answer.members) == (TOO_LARGE, [])
    assert h.join(instance="x" * limits.GROUP_MEMBER_BYTES_MAX).error_code == TOO_LARGE
    assert h.join(group="x" * limits.GROUP_MEMBER_BYTES_MAX).error_code == TOO_LARGE
    assert h.join(metadata=bytes(12 * MIB), known_id=True).error_code == TOO_LARGE
    # Nothing is left of them, and the next one finds the group as if they had not been there.
    assert (h.shard.groups, held(h)) == ({}, 0)
    assert h.join(metadata=LARGE).error_code == 0
    assert limits.GROUP_MEMBER_BYTES_MAX > held(h) > len(LARGE)


def test_one_group() -> None:
    h = ShardHarness()
    first = h.join(metadata=LARGE).member_id
    waiting = []
    while isinstance(answer := h.join(metadata=LARGE), Promise):
        waiting.append(answer)
    assert answer.error_code == FULL
    assert len(waiting) == limits.GROUP_BYTES_MAX // limits.GROUP_MEMBER_BYTES_MAX - 1
    assert limits.GROUP_BYTES_MAX >= held(h) > limits.GROUP_BYTES_MAX - len(LARGE)
    # A small one has no room for long, and who is in it does not notice.
    assert h.join(metadata=b"", known_id=True).error_code == ErrorCode.MEMBER_ID_REQUIRED
    rejoined = h.join(first, metadata=LARGE)
    if isinstance(rejoined, Promise):
        h.advance(60_000)
        rejoined = rejoined.value
    assert (rejoined.error_code, len(rejoined.members)) == (0, len(waiting) + 1)
    assert all(each.value.error_code == 0 for each in waiting)


def test_all_groups_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUPS_BYTES_MAX", 16 * MIB)
    monkeypatch.setattr(memory, "GROUPS_RESERVED_BYTES", MIB)
    h = ShardHarness()
    large = []
    while (answer := h.join(group=f"large{len(large)}", metadata=LARGE)).error_code == 0:
        large.append(answer.member_id)
    assert (answer.error_code, len(large)) == (FULL, 2)  # Half of the room.
    small = []
    half_mib = bytes(MIB // 2 - 1200)
    while (answer := h.join(group=f"small{len(small)}", metadata=half_mib)).error_code == 0:
        small.append(answer.member_id)
    assert (answer.error_code, len(small)) == (FULL, 16)
    assert held(h) <= 16 * MIB
    assert set(h.shard.groups) == {f"large{i}" for i in (0, 1)} | {f"small{i}" for i in range(16)}
    # Who is in a group goes on, the same or a little larger, but not for ever.
    assert h.join(small[0], group="small0", metadata=half_mib).error_code == 0
    grown = half_mib + bytes(MIB // 4)
    codes = [h.join(m, group=f"small{i}", metadata=grown).error_code for i, m in enumerate(small)]
    assert codes[:3] == [0, 0, 0]
    assert codes[-1] == FULL
    assert h.heartbeat(small[-1], 1, group="small15") == 0
    # What goes makes room.
    assert h.join(group="late").error_code == FULL
    h.advance(60_000)
    assert held(h) == 0
    assert h.join(group="late").error_code == 0


def test_ids_that_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUP_BYTES_MAX", 100 * limits.GROUP_MEMBER_OVERHEAD_BYTES)
    h = ShardHarness()
    asked = 0
    while h.join(known_id=True, session_timeout_ms=30_000).error_code != FULL:
        asked += 1
    assert 90 < asked < 100
    assert len(h.shard.groups["g"].pending_members) == asked
    h.advance(30_001)
    # Nothing of it was written, so nothing would ever end the group.
    assert (h.shard.groups, held(h), h.log) == ({}, 0, [])


def test_a_group_that_nobody_came_into_is_forgotten_unless_it_has_offsets() -> None:
    h = ShardHarness()
    h.commit(5)
    assert h.join(known_id=True).error_code == ErrorCode.MEMBER_ID_REQUIRED
    other = h.join(group="other", known_id=True).member_id
    h.advance(9_000)
    assert h.join(other, group="other", known_id=True).error_code == 0
    h.advance(2_000)
    assert set(h.shard.groups) == {"g", "other"}
    assert h.shard.groups["other"].members


def test_a_member_that_does_not_lead_leaves_no_assignments_behind() -> None:
    h = ShardHarness()
    first = h.join()
    h.sync(first.member_id, 1, {})
    second = h.join()
    h.join(first.member_id)
    request = SyncGroupRequest(
        group_id="g",
        generation_id=2,
        member_id=second.value.member_id,
        assignments=[SyncGroupRequestAssignment(member_id="x", assignment=LARGE)],
    )
    waiting = h.run(lambda: h.shard.sync(request, h.now_ms))
    assert isinstance(waiting, Promise)
    assert request.assignments == []


def test_assignments_count_and_so_does_what_was_loaded() -> None:
    h = ShardHarness()
    member = h.join(metadata=bytes(100_000)).member_id
    before = held(h)
    assert h.sync(member, 1, {member: bytes(50_000)}).error_code == 0
    assert held(h) == before + 50_000
    h.reload()
    assert held(h) == before + 50_000


def test_members_of_the_consumer_protocol() -> None:
    h = ShardHarness()
    h.topics(t=1)
    names = [f"{i:0200d}" for i in range(limits.GROUP_MEMBER_BYTES_MAX // 200)]
    assert h.beat("a", 0, *names) == TOO_LARGE
    assert (h.shard.registry.consumer, h.log) == ({}, [])
    assert h.beat("a", 0, "t").error_code == 0
    small = held(h)
    assert h.beat("a", 2, subscribed_topic_names=names) == TOO_LARGE
    assert h.beat("a", 2).error_code == 0
    assert held(h) == small
    assert h.beat("a", 2, subscribed_topic_names=["t", *names[:100]]).error_code == 0
    assert held(h) > small + 100 * 200
    h.reload()
    assert held(h) > small + 100 * 200
    assert h.beat("a", -1).error_code == 0
    assert held(h) == 0


def test_what_patterns_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUP_BYTES_MAX", 100_000)
    h = ShardHarness()
    h.topics(**{f"t{i:015d}": 1 for i in range(200)})
    assert h.beat("a", 0, subscribed_topic_regex="t.*").error_code == 0
    # The same pattern costs nothing more.
    assert h.beat("b", 0, subscribed_topic_regex="t.*").error_code == 0
    with_one = held(h)
    number, codes = 0, []
    while not codes:
        answer = h.beat(f"m{number}", 0, subscribed_topic_regex="t." + "." * number)
        codes += [answer] if isinstance(answer, int) else []
        number += 1
    assert codes == [FULL]
    assert number > 1
    assert with_one < held(h) <= 100_000
    assert f"m{number - 1}" not in h.shard.registry.consumer["g"].members


def test_members_of_the_classic_protocol_in_a_consumer_group() -> None:
    h = ShardHarness()
    h.topics(t=1)
    assert h.beat("a", 0, "t").error_code == 0
    subscription = b"\0\1\0\0\0\1\0\1t\xff\xff\xff\xff\0\0\0\0"
    small = held(h)
    answer = h.join(metadata=subscription + LARGE, protocols=("range", "roundrobin"))
    assert (answer.error_code, held(h)) == (TOO_LARGE, small)
    answer = h.join(metadata=subscription)
    assert answer.error_code == 0
    assert held(h) > small + limits.GROUP_MEMBER_OVERHEAD_BYTES


def test_a_full_node_counts_only_now_and_then() -> None:
    counts = []

    def count() -> int:
        counts.append(0)
        return limits.GROUPS_BYTES_MAX

    full = GroupMemory(count)
    for number in range(limits.GROUPS_BYTES_MAX // MIB):
        full.admit(MIB, 0, 0, number)
        full.admit(MIB, MIB, MIB, number)  # No growth.
    assert counts == []
    for now_ms in (0, 1, 999):
        assert refused(lambda now_ms=now_ms: full.admit(2, 0, 0, now_ms)) == FULL
    assert len(counts) == 1
    assert refused(lambda: full.admit(2, 0, 0, limits.GROUPS_RECOUNT_MS)) == FULL
    assert len(counts) == 2


def test_join_requests_have_no_field_that_is_not_counted() -> None:
    """Whoever adds one has to count it, or to drop it (as `reason`)."""
    assert set(JoinGroupRequest.__slots__) == {
        "group_id",
        "session_timeout_ms",
        "rebalance_timeout_ms",
        "member_id",
        "group_instance_id",
        "protocol_type",
        "protocols",
        "reason",
    }
