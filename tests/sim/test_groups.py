"""Classic groups under many seeded schedules: invariants after every step.

Members of a small group join, sync, beat, leave, vanish and restart in random order; the
coordinator is reloaded from its log now and then, and writes fail.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.promise import Promise

STEPS = 150


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
                self.h.join(self.member_id, instance=self.instance, known_id=not self.instance)
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


def check_invariants(h: ShardHarness, clients: list[Client], highest: int) -> int:
    group = h.shard.groups.get("g")
    if group is None:
        return highest
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


def run(seed: int) -> None:
    rng = random.Random(seed)
    h = ShardHarness(seed, initial_rebalance_delay_ms=rng.choice([0, 0, 3000]))
    clients = [Client(h, f"i{n}" if n % 3 == 0 else None) for n in range(rng.randint(1, 5))]
    highest = 0
    for _ in range(STEPS):
        client = rng.choice(clients)
        match rng.choices(
            ["run", "tick", "vanish", "leave", "reload", "fail"], [70, 20, 3, 4, 2, 1]
        )[0]:
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
            case "fail":
                h.fail_writes = 15
                client.run()
                h.fail_writes = 0
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
    runs = 0
    for seed in seeds("groups"):
        try:
            run(seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        runs += 1
    assert runs > 0
