"""Transactions under many seeded schedules, in both generations: invariants after every step.

Producers of a few transactional ids write to several partitions and commit or abort; they are
replaced while they are at work and go on as zombies; coordinators crash and lose what was not
committed; writes fail; time passes; messages are delayed, reordered and lost.

In the second generation every message may also arrive twice and long after its sender gave it up.
In the first one that breaks transactions, which is why there is a second one: there a message is
forgotten when its sender sends it again. `test_..._hits_the_next_transaction` show the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sim.schedules import run_all
from tests.sim.transaction_history import Attempt, check_attempts, outcomes_by_attempt
from tests.sim.transaction_world import TIMEOUT_MS, Refused, World
from tidelog.coordinator.txn.decisions import Change, Identity
from tidelog.coordinator.txn.shard import TransactionShard
from tidelog.coordinator.txn.transaction import TopicPartition

STEPS = 1_500
PATIENCE = 20
AGAIN = (14, 15, 16, 51)
TIDS = ("a", "b", "c")


class Producer:
    """One user of a transactional id, one request at a time."""

    def __init__(self, world: World, tid: str, attempts: list[Attempt]) -> None:
        self.world, self.tid, self.attempts = world, tid, attempts
        self.identity: Identity | None = None
        self.attempt: Attempt | None = None
        self.added: set[TopicPartition] = set()
        self.sequence = 0
        self.is_fenced = False
        self.must_abort = False
        self._request: tuple[Callable[[Callable[[Any], None]], None], Callable[[Any], None]] | None
        self._request = None
        self._waits_for: object | None = None
        self._patience = 0

    # -- one request at a time ----------------------------------------------------------------

    def ask(
        self,
        request: Callable[[Callable[[Any], None]], None],
        take: Callable[[Any], None],
    ) -> None:
        self._request = (request, take)
        self._send()

    def _send(self) -> None:
        assert self._request is not None
        request, take = self._request
        token = self._waits_for = object()
        self._patience = PATIENCE

        def answered(answer: Any) -> None:
            if self._waits_for is token and not self.world.is_over:
                self._waits_for = None
                self._request = None
                take(answer)

        def arrived() -> None:
            request(lambda answer: self.world.network.send(self, lambda: answered(answer)))

        if self.world.version < 2:
            self.world.network.forget(self)
        self.world.network.send(self, arrived, repeats=self.world.version >= 2)

    def run(self) -> None:
        """The next thing that this producer does."""
        if self._request is not None:
            self._patience -= 1
            if self._waits_for is None or self._patience < 0:
                self._send()
        elif self.identity is None:
            self._init()
        elif self.attempt is None:
            self.attempt = Attempt(self.tid)
            self.attempts.append(self.attempt)
            self.added.clear()
            self.must_abort = False
        else:
            self._go_on()

    # -- requests -------------------------------------------------------------------------------

    def _coordinator(
        self, operation: Callable[[TransactionShard, int], Any]
    ) -> Callable[[Callable[[Any], None]], None]:
        """A request to the coordinator; that a success was due is looked at where it is given."""
        identity = self.identity

        def request(reply: Callable[[Any], None]) -> None:
            fences = self.world.fences
            fence = fences.of(self.tid)

            def checked(answer: Any) -> None:
                if identity is not None and not isinstance(answer, Refused):
                    fences.check(self.tid, identity.producer_epoch, fence)
                reply(answer)

            self.world.coordinator(self.tid).ask(operation, checked)

        return request

    def _init(self) -> None:
        world, tid = self.world, self.tid

        def request(reply: Callable[[Any], None]) -> None:
            def given(answer: Any) -> None:
                if isinstance(answer, Change) and not answer.error_code:
                    epoch = answer.identity.producer_epoch
                    assert epoch > world.fences.of(tid)
                    world.fences.given(tid, epoch)
                reply(answer)

            world.coordinator(tid).ask(
                lambda shard, new: shard.init_producer_id(tid, TIMEOUT_MS, None, new, world.now_ms),
                given,
            )

        def take(answer: Any) -> None:
            if isinstance(answer, Change) and not answer.error_code:
                self.identity = answer.identity
                self.sequence = 0
            else:
                code = answer.error_code if isinstance(answer, Change) else answer.code
                assert code in AGAIN, code

        self.ask(request, take)

    def _go_on(self) -> None:
        rng = self.world.rng
        if self.must_abort or rng.random() < 0.3:
            commit = not self.must_abort and rng.random() < 0.7
            if self.world.version < 2 and not self.added:
                self.attempt = None
            elif commit and self.attempt is not None and not self.attempt.acknowledged:
                self._end(False)
            else:
                self._end(commit)
            return
        place = rng.choice(self.world.partitions).place
        if self.world.version < 2 and place not in self.added:
            self._add(place)
        else:
            self._produce(place)

    def _add(self, place: TopicPartition) -> None:
        identity = self.identity
        assert identity is not None

        def take(answer: Any) -> None:
            if isinstance(answer, Refused):
                self._refused(answer.code)
            else:
                self.added.add(place)

        self.ask(
            self._coordinator(
                lambda shard, _: shard.add_partitions(
                    self.tid, identity, (place,), 0, self.world.now_ms
                )
            ),
            take,
        )

    def _produce(self, place: TopicPartition) -> None:
        identity, attempt = self.identity, self.attempt
        assert identity is not None and attempt is not None
        self.sequence += 1
        sequence = self.sequence
        partition = self.world.partitions[place.partition]

        def request(reply: Callable[[Any], None]) -> None:
            partition.produce(self.tid, identity, sequence, attempt, reply)

        def take(code: int) -> None:
            if code == 0:
                attempt.acknowledged += 1
            elif code in AGAIN:
                self.ask(request, take)
            else:
                self._refused(code)

        self.ask(request, take)

    def _end(self, commit: bool) -> None:
        identity, attempt = self.identity, self.attempt
        assert identity is not None and attempt is not None
        version = 2 if self.world.version >= 2 else 0
        request = self._coordinator(
            lambda shard, new: shard.end(
                self.tid, identity, commit, version, new, self.world.now_ms
            )
        )

        def take(answer: Any) -> None:
            if not isinstance(answer, Refused):
                attempt.told = commit
                self.attempt = None
                if version:
                    self.identity = answer
            elif answer.code in AGAIN:
                self.ask(request, take)
            else:
                self._refused(answer.code)

        self.ask(request, take)

    def _refused(self, code: int) -> None:
        if code in AGAIN:
            return
        if code in (48, 120) and not self.must_abort:
            self.must_abort = True
            return
        assert code in (47, 48, 49, 90), code
        self.is_fenced = True
        self.identity, self.attempt = None, None


class Scene:
    """The producers of a run: the present ones, and those that were replaced and do not know."""

    def __init__(self, seed: int, version: int) -> None:
        self.world = World(seed, version)
        self.rng = self.world.rng
        self.attempts: list[Attempt] = []
        self.present = {tid: Producer(self.world, tid, self.attempts) for tid in TIDS}
        self.zombies: list[Producer] = []

    def run_somebody(self) -> None:
        if self.zombies and self.rng.random() < 0.4:
            zombie = self.rng.choice(self.zombies)
            if zombie.is_fenced or zombie.identity is None:
                self.zombies.remove(zombie)
            else:
                zombie.run()
        else:
            self.rng.choice(list(self.present.values())).run()

    def replace(self) -> None:
        tid = self.rng.choice(TIDS)
        self.zombies.append(self.present[tid])
        self.present[tid] = Producer(self.world, tid, self.attempts)

    def settle(self) -> None:
        """Without faults and producers everything comes to an end by itself."""
        world = self.world
        world.write_failures, world.is_over = 0, True
        for partition in world.partitions:
            partition.high_watermark = len(partition.log)
        for _ in range(40):
            for coordinator in world.coordinators:
                coordinator.load()
                coordinator.send_markers()
            world.network.deliver_all()
            for coordinator in world.coordinators:
                coordinator.commit()
            world.pass_time(500)
            for partition in world.partitions:
                partition.high_watermark = len(partition.log)
            world.check()
        for coordinator in world.coordinators:
            assert coordinator.shard is not None
            assert coordinator.works == {}
            states = {t.state for t in coordinator.shard.transactions.values()}
            assert all(state.is_at_rest for state in states), states
        for partition in world.partitions:
            assert partition.last_stable_offset == len(partition.log)


ACTIONS = {
    "run": 60,
    "deliver": 120,
    "deliver late": 10,
    "commit": 60,
    "markers": 20,
    "lose": 1,
    "time": 10,
    "high watermark": 10,
    "crash": 1,
    "load": 6,
    "replace": 1,
    "failures": 1,
}


def outcomes_of(world: World) -> dict[Any, list[bool | None]]:
    """What became of every record, by attempt."""
    return outcomes_by_attempt(partition.log for partition in world.partitions)


def run(seed: int, version: int) -> Scene:
    return play(Scene(seed, version))


def play(scene: Scene) -> Scene:
    world, rng = scene.world, scene.rng
    for step in range(STEPS):
        coordinator = rng.choice(world.coordinators)
        match rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]:
            case "run":
                scene.run_somebody()
            case "deliver":
                world.network.deliver()
            case "deliver late":
                world.network.deliver_late()
            case "commit":
                coordinator.commit()
            case "markers":
                coordinator.send_markers()
            case "lose":
                world.network.lose()
            case "time":
                world.pass_time(rng.choice([10, 100, 1_000]))
            case "high watermark":
                partition = rng.choice(world.partitions)
                partition.high_watermark = rng.randint(partition.high_watermark, len(partition.log))
            case "crash":
                coordinator.crash()
            case "load":
                coordinator.load()
            case "replace":
                scene.replace()
            case "failures":
                world.write_failures = rng.choice([0, 0, 0.2])
        world.check()
        if step % 50 == 0:
            world.check_readers()
    scene.settle()
    world.check_readers()
    check_attempts(scene.attempts, outcomes_of(world))
    return scene


def test_seeded_schedules(seeds: Callable[[str], Iterator[int]]) -> None:
    told: list[bool | None] = []

    def both(seed: int) -> None:
        for version in (seed % 2, 2):
            told.extend(attempt.told for attempt in run(seed, version).attempts)

    run_all(seeds("transactions"), both)
    # The schedules get somewhere.
    assert told.count(True) > 0 and told.count(False) > 0


# -- what the second generation is for ----------------------------------------------------------


class Directed:
    """One producer whose requests arrive when the test says so."""

    def __init__(self, version: int) -> None:
        self.world = World(1, version, coordinators=1)
        self.coordinator = self.world.coordinators[0]
        self.client_version = 2 if version >= 2 else 0
        change = self.ask(lambda shard, new: shard.init_producer_id("x", TIMEOUT_MS, None, new, 0))
        self.producer: Identity = change.identity
        self.sequence = 0

    def ask(self, operation: Callable[[TransactionShard, int], Any]) -> Any:
        answers: list[Any] = []
        self.coordinator.ask(operation, answers.append)
        self.coordinator.commit()
        return answers[0]

    def settle(self) -> None:
        for _ in range(4):
            self.coordinator.send_markers()
            self.world.network.deliver_all()
            self.coordinator.commit()

    def produce(self, attempt: Attempt, index: int, producer: Identity | None = None) -> int:
        """A record, and before it (first generation) the partition; an error code."""
        producer = producer or self.producer
        place = self.world.partitions[index].place
        if self.client_version < 2:
            added = self.ask(lambda shard, _: shard.add_partitions("x", producer, (place,), 0, 0))
            if isinstance(added, Refused):
                return added.code
        return self.arrive(attempt, index, producer)

    def arrive(self, attempt: Attempt, index: int, producer: Identity) -> int:
        """The record itself."""
        self.sequence += 1
        answers: list[int] = []
        partition = self.world.partitions[index]
        partition.produce("x", producer, self.sequence, attempt, answers.append)
        while not answers:
            self.world.network.deliver()
            self.coordinator.commit()
        return answers[0]

    def end(self, commit: bool, producer: Identity | None = None) -> Any:
        producer = producer or self.producer
        return self.ask(
            lambda shard, new: shard.end("x", producer, commit, self.client_version, new, 0)
        )

    def ended(self, commit: bool) -> Identity:
        """The transaction is ended; the identity that it had."""
        former = self.producer
        answer = self.end(commit)
        assert not isinstance(answer, Refused)
        if self.client_version >= 2:
            self.producer = answer
        self.settle()
        return former


@pytest.mark.parametrize("version", [1, 2])
def test_a_late_end_hits_the_next_transaction(version: int) -> None:
    """EndTxn was sent twice, as the first one seemed lost: one comes into the next transaction."""
    d = Directed(version)
    first, second = Attempt("x"), Attempt("x")
    assert d.produce(first, 0) == 0
    former = d.ended(True)
    assert d.produce(second, 0) == 0
    late = d.end(True, former)
    d.settle()
    assert d.produce(second, 1) == 0
    d.ended(False)
    outcomes = outcomes_of(d.world)
    assert outcomes[first] == [True]
    if version < 2:
        assert late == (-1, -1)
        assert sorted(outcomes[second]) == [False, True], "half of it was committed"  # type: ignore[type-var]
    else:
        assert late == Refused(90)
        assert outcomes[second] == [False, False]


@pytest.mark.parametrize("version", [1, 2])
def test_a_late_record_hits_the_next_transaction(version: int) -> None:
    """A record of an aborted transaction arrives when the next one writes to the same partition."""
    d = Directed(version)
    first, second = Attempt("x"), Attempt("x")
    assert d.produce(first, 0) == 0
    former = d.ended(False)
    assert d.produce(second, 0) == 0
    late = d.arrive(first, 0, former)
    d.ended(True)
    outcomes = outcomes_of(d.world)
    assert outcomes[second] == [True]
    if version < 2:
        assert late == 0
        assert outcomes[first] == [False, True], "what was aborted is committed"
    else:
        assert late == 47
        assert outcomes[first] == [False]


@pytest.mark.parametrize("version", [1, 2])
def test_a_late_record_for_a_partition_of_its_own(version: int) -> None:
    """Where the next transaction does not write, the coordinator is asked, and knows better."""
    d = Directed(version)
    first, second = Attempt("x"), Attempt("x")
    assert d.produce(first, 0) == 0
    former = d.ended(False)
    assert d.produce(second, 0) == 0
    assert d.arrive(first, 1, former) == (120 if version < 2 else 90)
    d.ended(True)
    assert outcomes_of(d.world)[first] == [False]


def test_the_model_has_no_invariant_that_cannot_fail() -> None:
    """With messages that come twice and late, the first generation is caught by the invariants."""

    caught = 0
    for seed in range(120):
        scene = Scene(seed, 1)
        network = scene.world.network
        network.forget = lambda sender: None  # type: ignore[method-assign]
        network.is_hostile = True
        try:
            play(scene)
        except AssertionError:
            caught += 1
    assert caught > 0
