"""Consumer groups (KIP-848) under many seeded schedules: invariants after every step.

Members of either protocol join, beat, change what they subscribe to, leave, vanish and lose answers
in random order; topics come and grow; the coordinator is reloaded from its log now and then, and
writes fail.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.sim.schedules import run_all
from tests.unit.coordinator.group.shard_harness import CONFIG, ShardHarness, given, owned
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.promise import Promise
from tidelog.protocol.records import encode_versioned
from tidelog.protocol.records.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
    decode_assignment,
    decode_subscription,
)

STEPS = 200
TOPICS = ("a", "b", "c")
#: What fences a member: it gives up everything and joins anew.
FENCED = (25, 69, 82, 110)
ACTIONS = {
    "run": 70,
    "tick": 15,
    "lose": 4,
    "leave": 3,
    "vanish": 2,
    "subscribe": 2,
    "topics": 1,
    "reload": 2,
    "fail": 2,
}


class Consumer:
    """A member that follows the protocol as a consumer does."""

    session_ms = CONFIG.consumer_session_timeout_ms

    def __init__(self, h: Harness, name: str, instance: str | None, rng: random.Random):
        self.h, self.name, self.instance, self.rng = h, name, instance, rng
        self.lives = 0
        self.topics = self.some_topics()
        self.forget()

    def forget(self) -> None:
        """A new process: nothing of the old one counts any more."""
        self.lives += 1
        self.member_id = f"{self.name}-{self.lives}"
        self.abandon()

    def abandon(self) -> None:
        """Fenced: everything is given up, and the member joins again."""
        self.epoch = 0
        self.owned: set[tuple[str, int]] = set()
        self.says_all = False
        self.alive_ms = self.h.now_ms

    def resubscribe(self) -> None:
        self.topics, self.says_all = self.some_topics(), True

    def some_topics(self) -> list[str]:
        return sorted(self.rng.sample(TOPICS, self.rng.randint(1, len(TOPICS))))

    def run(self, *, loses_answer: bool = False) -> None:
        if self.h.now_ms - self.alive_ms >= self.session_ms:
            self.abandon()
        changes: dict[str, Any] = {"topic_partitions": owned(*self.owned)}
        if self.instance is not None:
            changes["instance_id"] = self.instance
        if self.says_all and self.epoch:
            changes["subscribed_topic_names"] = self.topics
            changes["rebalance_timeout_ms"] = 60_000
        answer = self.h.beat(self.member_id, self.epoch, *self.topics, **changes)
        if answer == 15 or (loses_answer and not isinstance(answer, int)):
            # The client does not know what became of it, and says everything next time.
            self.says_all = True
        elif answer == 111:
            self.says_all = False  # Its instance id is in use until the other one's session ends.
        elif isinstance(answer, int):
            assert answer in FENCED, answer
            self.abandon()
        else:
            self.says_all = False
            self.alive_ms = self.h.now_ms
            self.epoch = answer.member_epoch
            now = given(answer)
            if now is not None:
                self.owned = now

    def leave(self) -> None:
        if self.epoch:
            changes = {} if self.instance is None else {"instance_id": self.instance}
            epoch = -1 if self.instance is None else self.rng.choice([-1, -2])
            answer = self.h.beat(self.member_id, epoch, **changes)
            assert not isinstance(answer, int) or answer in FENCED
        self.forget()


class ClassicConsumer(Consumer):
    """A member of the classic protocol that reconciles cooperatively."""

    session_ms = 10_000

    def forget(self) -> None:
        super().forget()
        self.member_id = ""

    def abandon(self) -> None:
        super().abandon()
        self.step = "join"
        self.waiting: Promise[Any] | None = None
        self.assignments: dict[str, bytes] | None = None

    def resubscribe(self) -> None:
        self.resubscribe_to(self.some_topics())

    def resubscribe_to(self, topics: list[str]) -> None:
        self.topics, self.step, self.waiting = topics, "join", None

    def run(self, *, loses_answer: bool = False) -> None:
        if self.h.now_ms - self.alive_ms >= self.session_ms:
            self.abandon()
        if self.waiting is not None:
            # The coordinator answers when the others are there; a lost answer is asked for again.
            answer = self.waiting.value if self.waiting.done else None
            if answer is None and not loses_answer:
                self.alive_ms = self.h.now_ms
                return
            self.waiting = None
        else:
            answer = self.ask()
            if isinstance(answer, Promise) and not answer.done:
                self.waiting, self.alive_ms = answer, self.h.now_ms
                return
            if isinstance(answer, Promise):
                answer = answer.value
        if answer is not None:
            self.hear(answer, loses_answer=loses_answer)

    def ask(self) -> Any:
        match self.step:
            case "join":
                return self.h.join(
                    self.member_id,
                    instance=self.instance,
                    known_id=self.instance is None,
                    session_timeout_ms=self.session_ms,
                    metadata=self.metadata(),
                )
            case "sync":
                return self.h.sync(
                    self.member_id, self.epoch, self.assignments, instance=self.instance
                )
            case _:
                return self.h.heartbeat(self.member_id, self.epoch, instance=self.instance)

    def hear(self, answer: Any, *, loses_answer: bool) -> None:
        code = answer if isinstance(answer, int) else answer.error_code
        if code == 79:
            self.member_id = answer.member_id
        elif not self.takes(code, loses_answer=loses_answer):
            return
        elif self.step == "join":
            self.member_id, self.epoch = answer.member_id, answer.generation_id
            self.step = "sync"
            self.assignments = None
            if answer.leader == self.member_id and not answer.skip_assignment:
                self.assignments = self.h.shared_out(answer.members)
        elif self.step == "sync":
            now = partitions_of(answer.assignment)
            # What it gives up it tells by joining again.
            self.step = "join" if self.owned - now else "beat"
            self.owned = now

    def metadata(self) -> bytes:
        owned_partitions = [
            TopicPartition(topic=name, partitions=[index]) for name, index in sorted(self.owned)
        ]
        return encode_versioned(
            ConsumerProtocolSubscription(topics=self.topics, owned_partitions=owned_partitions), 1
        )

    def takes(self, code: int, *, loses_answer: bool) -> bool:
        """Whether the answer is a good one that arrived."""
        if code == 0 and not loses_answer:
            self.alive_ms = self.h.now_ms
            return True
        if code == 27 and loses_answer and self.step == "beat":
            return False
        if code == 27:
            if self.step == "beat":
                self.alive_ms = self.h.now_ms
            self.step = "join"
        elif code == 22:
            self.abandon()
        elif code in (25, 82):
            self.abandon()
            self.member_id = ""
        else:
            assert code in (0, 15, 16, 111), code
        return False

    def leave(self) -> None:
        if self.member_id:
            self.h.leave((self.member_id, self.instance))
        self.forget()


class Harness(ShardHarness):
    """Knows how many partitions the topics have, for leaders of the classic protocol."""

    counts: dict[str, int]

    def shared_out(self, members: list[Any]) -> dict[str, bytes]:
        """What a cooperative leader gives to whom: everybody keeps what they say they have, and the
        emptiest gets what nobody has. What has to move is given to nobody in this generation.
        """
        said = {each.member_id: decode_subscription(each.metadata) for each in members}
        claims: dict[tuple[str, int], str] = {}
        for member_id, subscription in said.items():
            for topic in subscription.owned_partitions:
                for index in topic.partitions:
                    claims.setdefault((topic.topic, index), member_id)
        counts = Counter(dict.fromkeys(said, 0))
        counts.update(claims.values())
        given: dict[str, set[tuple[str, int]]] = {member_id: set() for member_id in said}
        for (name, index), holder in claims.items():
            takers = [m for m in said if name in said[m].topics]
            emptiest = min(takers, key=lambda m: (counts[m], m), default=holder)
            if counts[emptiest] + 1 < counts[holder]:
                counts[holder] -= 1
                counts[emptiest] += 1
            elif name in said[holder].topics:
                given[holder].add((name, index))
        everything = {(name, n) for name, count in self.counts.items() for n in range(count)}
        for name, index in sorted(everything - claims.keys()):
            takers = [m for m in said if name in said[m].topics]
            if takers:
                given[min(takers, key=lambda m: (len(given[m]), m))].add((name, index))
        return {
            member_id: encode_versioned(
                ConsumerProtocolAssignment(
                    assigned_partitions=[
                        TopicPartition(topic=name, partitions=[index])
                        for name, index in sorted(partitions)
                    ]
                ),
                1,
            )
            for member_id, partitions in given.items()
        }


def partitions_of(assignment: bytes) -> set[tuple[str, int]]:
    if not assignment:
        return set()
    return {
        (topic.topic, index)
        for topic in decode_assignment(assignment).assigned_partitions
        for index in topic.partitions
    }


def state_of(h: ShardHarness) -> Any:
    """Everything that records say about the group."""
    group = h.shard.registry.consumer.get("g")
    if group is None:
        return None
    return (
        group.epoch,
        group.metadata_hash,
        group.target_epoch,
        group.members,
        group.static_members,
        group.target,
        group.regexes,
        group.owners,
    )


def check_invariants(h: ShardHarness, consumers: list[Consumer]) -> None:
    alive = [each for each in consumers if h.now_ms - each.alive_ms < each.session_ms]
    used = Counter(partition for each in alive for partition in each.owned)
    assert all(count == 1 for count in used.values()), used
    registry = h.shard.registry
    assert not registry.consumer.keys() & registry.classic.keys()
    if "g" in registry.classic:
        check_classic(h, registry.classic["g"])
    elif "g" in registry.consumer:
        check_consumer(h, registry.consumer["g"])


def check_classic(h: ShardHarness, group: ClassicGroup) -> None:
    for member_id in group.members:
        assert ("g", member_id, "session") in h.timers.due
    if group.state_name == "Stable":
        given = Counter(p for m in group.members.values() for p in partitions_of(m.assignment))
        assert all(count == 1 for count in given.values()), given


def check_consumer(h: ShardHarness, group: ConsumerGroup) -> None:
    holders = Counter(partition for m in group.members.values() for partition in m.owned)
    assert all(count == 1 for count in holders.values()), holders
    assert holders.keys() == group.owners.keys()
    targets = Counter(partition for target in group.target.values() for partition in target)
    assert all(count == 1 for count in targets.values()), targets
    assert group.target.keys() <= group.members.keys()
    assert group.target_epoch <= group.epoch
    for member_id, member in group.members.items():
        assert ("g", member_id, "session") in h.timers.due
        assert member.epoch <= group.target_epoch
    for instance, member_id in group.static_members.items():
        assert group.members[member_id].instance_id == instance


def run(seed: int) -> None:
    rng = random.Random(seed)
    h = Harness(
        seed,
        consumer_assignment_interval_ms=rng.choice([0, 0, 1_000]),
        allows_downgrade=rng.random() < 0.8,
    )
    counts = {name: rng.randint(1, 5) for name in TOPICS[: rng.randint(1, 3)]}
    h.counts = counts
    h.topics(**counts)
    consumers = [
        (Consumer if rng.random() < 0.5 else ClassicConsumer)(
            h, f"m{n}", f"i{n}" if n % 3 == 0 else None, rng
        )
        for n in range(rng.randint(1, 5))
    ]
    consumers[0].run()
    for _ in range(STEPS):
        consumer = rng.choice(consumers)
        match rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]:
            case "run":
                consumer.run()
            case "tick":
                h.advance(rng.choice([10, 500, 3_000]))
            case "lose":
                consumer.run(loses_answer=True)
            case "leave":
                consumer.leave()
            case "vanish":
                consumer.forget()
            case "subscribe":
                consumer.resubscribe()
            case "topics":
                name = rng.choice(TOPICS)
                counts[name] = counts.get(name, 0) + 1
                h.topics(**counts)
            case "reload":
                before = state_of(h)
                h.reload()
                assert state_of(h) == before
            case "fail":
                h.fail_writes = 15
                consumer.run()
                h.fail_writes = 0
        check_invariants(h, consumers)
    settle(h, consumers, counts)


def settle(h: ShardHarness, consumers: list[Consumer], counts: dict[str, int]) -> None:
    """Without faults everybody ends up with their part of everything that is subscribed to."""
    for each in consumers:
        each.says_all = True
    for turn in range(80):
        for each in consumers:
            # Clients look at the metadata now and then; a leader of the classic protocol joins
            # again when topics have changed. (One that comes back without a rebalance does not
            # lead a round, so it is asked for when everybody is there.)
            if turn == 20 and isinstance(each, ClassicConsumer) and each.step == "beat":
                each.resubscribe_to(each.topics)
            each.run()
            check_invariants(h, consumers)
        h.advance(2_000)
    registry = h.shard.registry
    if h.config.allows_downgrade and all(isinstance(each, ClassicConsumer) for each in consumers):
        assert "g" in registry.classic
    group = registry.find("g")
    assert isinstance(group, ClassicGroup | ConsumerGroup)
    assert group.state_name == "Stable"
    assert set(group.members) == {each.member_id for each in consumers}
    wanted = {
        (name, index)
        for name in {topic for each in consumers for topic in each.topics}
        for index in range(counts.get(name, 0))
    }
    assert {partition for each in consumers for partition in each.owned} == wanted
    for each in consumers:
        assert {name for name, _ in each.owned} <= set(each.topics)


def test_seeded_schedules(seeds: Callable[[str], Iterator[int]]) -> None:
    run_all(seeds("consumer_groups"), run)
