"""Classic groups under many seeded schedules: invariants after every step.

Members of a small group join, sync, beat, commit, leave, vanish and restart in random order, and an
operator deletes offsets and the group; the coordinator is reloaded from its log now and then, and
writes fail. What is committed is compared with a model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.sim.schedules import run_all
from tests.unit.coordinator.group.shard_harness import CONFIG, ShardHarness
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.promise import Promise
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import ConsumerProtocolSubscription

STEPS = 150
#: Members subscribe to the first one.
TOPICS = ("t", "old")
SUBSCRIPTION = encode_versioned(ConsumerProtocolSubscription(topics=["t"]), 1)
SHORT_RETENTION_MS = 5_000


class Client:
    """A member that follows the protocol as a consumer does."""

    def __init__(self, harness: ShardHarness, instance: str | None) -> None:
        self.h = harness
        self.instance = instance
        self.member_id = ""
        self.generation = -1
        self.leads = False
        self.owned: bytes | None = None
        self.waiting: Promise[Any] | None = None
        self.step = "join"

    def forget(self) -> None:
        self.member_id, self.generation, self.owned = "", -1, None
        self.waiting, self.step = None, "join"

    def run(self) -> None:
        if self.waiting is not None:
            if not self.waiting.done:
                return
            answer, self.waiting = self.waiting.value, None
            self.take(answer)
            return
        if self.step == "join":
            self.answered(
                self.h.join(
                    self.member_id,
                    instance=self.instance,
                    known_id=not self.instance,
                    metadata=SUBSCRIPTION,
                )
            )
        elif self.step == "sync":
            members = self.h.shard.groups["g"].members if "g" in self.h.shard.groups else {}
            given = {m: f"{self.generation}:{m}".encode() for m in members}
            self.answered(
                self.h.sync(
                    self.member_id,
                    self.generation,
                    given if self.leads else None,
                    instance=self.instance,
                )
            )
        else:
            self.check(self.h.heartbeat(self.member_id, self.generation, instance=self.instance))

    def answered(self, answer: Any) -> None:
        if isinstance(answer, Promise):
            self.waiting = answer
        else:
            self.take(answer)

    def take(self, answer: Any) -> None:
        if isinstance(answer, int):
            self.check(answer)
        elif self.step == "join":
            if answer.error_code == 79:
                self.member_id = answer.member_id
            elif answer.error_code == 0:
                self.member_id, self.generation = answer.member_id, answer.generation_id
                self.leads = answer.leader == answer.member_id
                self.owned = None
                self.step = "sync"
            else:
                self.check(answer.error_code)
        elif answer.error_code == 0:
            self.owned = answer.assignment
            self.step = "beat"
        else:
            self.check(answer.error_code)

    def check(self, code: int) -> None:
        if code in (22, 25):
            self.forget()
        elif code == 27:
            self.owned, self.step = None, "join"
        elif code == 82:
            self.forget()
        elif code in (14, 15, 16):
            self.owned, self.step = None, "join"
        else:
            assert code in (0, 79), code


class Offsets:
    """What the group's committed offsets have to be: changed by what was answered with success,
    and by nothing else but time.
    """

    def __init__(self, h: ShardHarness, rng: random.Random) -> None:
        self.h = h
        self.rng = rng
        #: By topic: (offset, when it was committed).
        self.committed: dict[str, tuple[int, int]] = {}
        self.next = 0

    def commit(self, client: Client | None) -> None:
        """A member commits in the generation that it knows; None: somebody without membership."""
        topic = self.rng.choice(TOPICS)
        self.next += 1
        if client is None:
            code = self.h.commit(self.next, topic=topic)
        else:
            code = self.h.commit(
                self.next,
                topic=topic,
                member_id=client.member_id,
                generation_id=client.generation,
                instance=client.instance,
            )
        assert code in (0, 15, 22, 25, 27, 82), code
        if code == 0:
            self.committed[topic] = (self.next, self.h.now_ms)

    def delete(self) -> None:
        topic = self.rng.choice(TOPICS)
        answer = self.h.delete_offsets(topic)
        if answer == [0]:
            group = self.h.shard.groups["g"]
            # While the first members come, the empty generation before them still holds.
            assert topic == "old" or group.is_in(GroupState.EMPTY, GroupState.PREPARING_REBALANCE)
            self.committed.pop(topic, None)
        else:
            assert answer in ([86], 69, 15), answer

    def delete_group(self) -> None:
        group = self.h.shard.groups.get("g")
        code = self.h.delete_group()
        if group is None:
            assert code == 69
        elif not group.is_in(GroupState.EMPTY):
            assert code == 68
        elif code == 0:
            assert not group.members
            self.committed.clear()
            assert "g" not in self.h.shard.groups
        else:
            assert code == 15

    def check(self, before: GroupState | None, empty_since_ms: int | None) -> None:
        """Everything is there but for what is older than the retention (of an empty group: since
        it became empty) and not of a topic that members of a stable group subscribe to.

        before: the group's state, and when it became empty, one step ago.
        """
        oldest_ms = self.h.now_ms - self.h.config.offsets_retention_ms
        for topic in TOPICS:
            found = self.h.committed(topic=topic)
            offset, since_ms = self.committed.get(topic, (-1, 0))
            if found == -1 and offset != -1:
                assert min(since_ms, empty_since_ms or since_ms) <= oldest_ms, topic
                assert topic == "old" or before is not GroupState.STABLE
                del self.committed[topic]
            else:
                assert found == offset, topic


def state_of(h: ShardHarness) -> tuple[GroupState | None, int | None]:
    """The group's state, and when it became empty after having had members."""
    group = h.shard.groups.get("g")
    if group is None:
        return None, None
    if group.state is not GroupState.EMPTY or group.protocol_type is None:
        return group.state, None
    return group.state, group.state_since_ms


def check_invariants(h: ShardHarness, clients: list[Client], highest: int) -> int:
    group = h.shard.groups.get("g")
    if group is None:
        assert not h.shard.offsets.has_group("g")
        return 0
    assert group.generation_id >= highest or highest == 0
    if group.state is GroupState.EMPTY:
        assert not group.members
    if group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
        assert group.leader_id in group.members
        assert group.protocol_name == "range"
        assert all(m.joining is None for m in group.members.values())
    if group.state is GroupState.STABLE:
        assert all(m.syncing is None for m in group.members.values())
        for client in clients:
            member = group.members.get(client.member_id)
            current = client.step == "beat" and client.generation == group.generation_id
            if member is not None and current and client.owned:
                assert client.owned == member.assignment
    for instance, member_id in group.static_members.items():
        assert group.members[member_id].group_instance_id == instance
    for member_id in group.members:
        assert ("g", member_id, "session") in h.timers.due
    return group.generation_id


#: What happens next, by weight.
ACTIONS = {
    "run": 60,
    "tick": 20,
    "commit": 8,
    "leave": 4,
    "vanish": 3,
    "fail": 2,
    "reload": 2,
    "delete offsets": 2,
    "delete group": 1,
}


def run(seed: int) -> None:
    rng = random.Random(seed)
    h = ShardHarness(
        seed,
        initial_rebalance_delay_ms=rng.choice([0, 0, 3000]),
        offsets_retention_ms=rng.choice([CONFIG.offsets_retention_ms, SHORT_RETENTION_MS]),
        offsets_retention_check_interval_ms=1_000,
    )
    offsets = Offsets(h, rng)
    clients = [Client(h, f"i{n}" if n % 3 == 0 else None) for n in range(rng.randint(1, 5))]
    highest = 0
    for _ in range(STEPS):
        client = rng.choice(clients)
        before = state_of(h)
        match rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]:
            case "run":
                client.run()
            case "tick":
                h.advance(rng.choice([10, 500, 3_000]))
            case "vanish":
                client.forget()
            case "leave" if client.member_id:
                h.leave((client.member_id, client.instance))
                client.forget()
            case "reload":
                h.reload()
                highest = 0
            case "commit":
                offsets.commit(rng.choice([client, client, None]))
            case "delete offsets":
                offsets.delete()
            case "delete group":
                offsets.delete_group()
            case "fail":
                h.fail_writes = 15
                rng.choice(
                    [
                        client.run,
                        lambda: offsets.commit(None),
                        offsets.delete,
                        offsets.delete_group,
                        lambda: h.advance(2_000, failing=True),
                    ]
                )()
                h.fail_writes = 0
        offsets.check(*before)
        highest = check_invariants(h, clients, highest)
    settle(h, clients, seed)


def settle(h: ShardHarness, clients: list[Client], seed: int) -> None:
    """Without faults everybody ends up in one stable generation, with what its leader gave them."""
    for _ in range(120):
        for client in clients:
            client.run()
        h.advance(2_000)
    for client in clients:
        client.run()
    group = h.shard.groups["g"]
    assert group.state is GroupState.STABLE, seed
    assert {c.member_id for c in clients} == set(group.members), seed
    assert {c.generation for c in clients} == {group.generation_id}, seed


def test_seeded_schedules(seeds: Callable[[str], Iterator[int]]) -> None:
    run_all(seeds("groups"), run)
