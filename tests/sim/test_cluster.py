"""Replication under many seeded schedules: invariants after every event, liveness after healing.

Writers with acks=all and acks=1 and readers at work while processes are killed, machines lose their
power, links are cut in one direction or both, messages are late and lost, nodes are fenced while
they go on, the controller's process is replaced and its store fails. Then everything heals, and
within a bounded time every replica is in sync again and everything acknowledged is read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest

from tests.sim.cluster.checks import Broken
from tests.sim.cluster.coordinator_clients import Clients
from tests.sim.cluster.network import Lost
from tests.sim.cluster.nodes import with_simulated_parts
from tests.sim.cluster.virtual_loop import VirtualLoop
from tests.sim.cluster.world import (
    NODES,
    PARTITIONS,
    CoordinatorMutation,
    Mutation,
    World,
)
from tests.sim.schedules import run_all
from tidelog.errors import KafkaError

FAULTS_S = 6.0
HEAL_S = 30.0
WITH_COORDINATORS_EVERY, WATCHED_EVERY = 5, 10
MISTAKES = [each.name for each in fields(Mutation)]
#: Where to look first. (The last one takes two coordinators that fail one after the other.)
FOUND_BY = {
    "answers_uncommitted": (3,),
    "assigns_uncommitted": (12,),
    "forgets_markers": (1,),
    "acts_on_uncommitted_load": (400,),
}
COORDINATOR_MISTAKES = [each.name for each in fields(CoordinatorMutation)]


async def write(world: World, name: str, until: float) -> None:
    """One writer: each value is sent once, to whom it takes for the leader."""
    rng = world.rng
    while world.loop.now < until:
        await asyncio.sleep(rng.random() * 0.06)
        index, acks = rng.randrange(PARTITIONS), rng.choice((-1, -1, -1, 1))
        leader = world.leader_known("t", index)
        value = world.next_value()
        try:
            await world.ask_node(
                name,
                leader,
                lambda node, i=index, v=value, a=acks: node.produce(i, v, a),  # type: ignore[misc]
                1.0,
            )
        except Lost:
            continue


async def look(world: World) -> None:
    while True:
        await asyncio.sleep(0.01)
        world.checks.look(list(world.nodes.values()))
        world.note_healing()


async def break_things(world: World, until: float) -> None:
    """One fault after the other."""
    rng = world.rng
    while world.loop.now < until:
        await asyncio.sleep(rng.random() * 0.5)
        fault = rng.choice(FAULTS)
        await fault(world)


async def kill(world: World) -> None:
    if world.nodes:
        node_id = world.rng.choice(sorted(world.nodes))
        await world.die(node_id)
        world.background(restart(world, node_id, False))


async def lose_power(world: World) -> None:
    if world.nodes and not world.may_lack:
        node_id = world.rng.choice(sorted(world.nodes))
        await world.die(node_id, power=True)
        world.background(restart(world, node_id, True))


async def restart(world: World, node_id: int, unclean: bool) -> None:
    await asyncio.sleep(world.rng.choice((0.03, 0.3, 1.5)) * world.rng.random())
    await world.bear(node_id, unclean=unclean)


async def cut(world: World) -> None:
    """A link, for a while: one direction or both, between nodes or to the controller."""
    rng = world.rng
    source = rng.choice(NODES)
    target = rng.choice([*(node for node in NODES if node != source), "controller"])
    links: set[tuple[int | str, int | str]] = {(source, target)}
    if rng.random() < 0.5:
        links.add((target, source))
    if rng.random() < 0.2:
        links |= {(target, source) for target in NODES} | {(source, target) for target in NODES}
    world.network.cut |= links
    await_s = rng.random() * 2.0

    async def mend() -> None:
        await asyncio.sleep(await_s)
        world.network.cut -= links

    world.background(mend())


async def isolate(world: World) -> None:
    """A host loses its session: it is fenced, and goes on as far as it can."""
    if len(world.fenced) > 1 or not world.nodes:
        return
    node_id = world.rng.choice(sorted(world.nodes))
    links = {(node_id, "controller"), ("controller", node_id)}
    world.network.cut |= links
    await world.fence(node_id)

    async def back() -> None:
        await asyncio.sleep(world.rng.random() * 2.0)
        world.network.cut -= links
        await world.unfence(node_id)

    world.background(back())


async def worse_network(world: World) -> None:
    world.network.loss = world.rng.choice((0.0, 0.0, 0.02, 0.2))
    world.network.latency_s = world.rng.choice((0.001, 0.01, 0.1))


async def replace_controller(world: World) -> None:
    await world.fail_over()


async def fail_store(world: World) -> None:
    world.store.fails = not world.store.fails


FAULTS = (kill, kill, lose_power, cut, cut, isolate, worse_network, replace_controller, fail_store)


async def heal(world: World) -> None:
    """Everything comes back; within a bounded time all is well again."""
    world.network.cut.clear()
    world.network.loss, world.network.latency_s = 0.0, 0.002
    world.store.fails = False
    await world.finish_background()
    for node_id in sorted(world.fenced):
        await world.unfence(node_id)


async def settle(world: World) -> None:
    """Every replica is in sync and holds all that was acknowledged."""
    deadline = world.loop.now + HEAL_S
    while not (world.is_healed() and all_agree(world)):
        assert world.loop.now < deadline, f"not healed: {describe(world)}"
        await asyncio.sleep(0.1)
    world.checks.look(list(world.nodes.values()))
    for place, value in world.checks.committed.items():
        assert world.checks.seen[place] == value


def all_agree(world: World) -> bool:
    """All replicas hold the same, and all of it is committed."""
    return all(
        agrees(world, topic.name, index)
        for topic in world.topics
        for index in range(topic.partition_count)
    )


def agrees(world: World, topic: str, index: int) -> bool:
    logs = [node.logs.get(topic, index) for node in world.nodes.values()]
    if len(logs) < len(NODES) or None in logs:
        return False
    first = logs[0]
    assert first is not None
    contents = first.contents()
    if any(log is None or log.contents() != contents for log in logs):
        return False
    leader = world.leader_node(topic, index)
    partition = leader and leader.replicas.partition(topic, index)
    return bool(partition and partition.is_leader and partition.high_watermark == first.end)


def describe(world: World) -> str:
    partitions = {name: topic.partitions for name, topic in world.image.topics.items()}
    logs = {
        (node.node_id, log.topic, log.index): log.end
        for node in world.nodes.values()
        for log in node.logs.logs()
    }
    return f"{partitions} {logs} fenced={world.fenced} nodes={sorted(world.nodes)}"


async def live(world: World, *, watched: bool) -> None:
    await world.start()
    watch = asyncio.ensure_future(look(world))
    until = world.loop.now + FAULTS_S
    has_coordinators = world.coordinator_mutation is not None
    writers = [write(world, f"w{i}", until) for i in range(1 if has_coordinators else 3)]
    clients = Clients(world, until, watched=watched) if has_coordinators else None
    work = asyncio.gather(*writers, break_things(world, until))
    life = asyncio.ensure_future(live_and_heal(world, work, clients))
    try:
        await asyncio.wait({life, watch}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            watch.result()
        await life
    finally:
        watch.cancel()
        life.cancel()
        work.cancel()


async def live_and_heal(
    world: World, work: asyncio.Future[list[None]], clients: Clients | None
) -> None:
    await work
    await heal(world)
    if clients is not None:
        await clients.settle()
    await settle(world)
    if clients is not None:
        await clients.check()


def run(
    seed: int,
    mutation: Mutation = Mutation(),  # noqa: B008
    coordinator_mutation: CoordinatorMutation | None = None,
    *,
    watched: bool = False,
) -> World:
    rng = random.Random(seed)
    loop = VirtualLoop(rng)
    failures: list[BaseException] = []

    def failed(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, Lost | KafkaError):
            failures.append(error)
            loop.stop()

    loop.set_exception_handler(failed)

    async def all_of_it() -> World:
        world = World(rng, loop, mutation, coordinator_mutation)
        await live(world, watched=watched)
        return world

    try:
        asyncio.set_event_loop(loop)
        task = loop.create_task(all_of_it())
        task.add_done_callback(lambda _: loop.stop())
        with_simulated_parts(loop.run_forever)
        if failures:
            raise failures[0]
        return task.result()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        loop.close()


def run_some_with_coordinators(seed: int) -> World:
    """A share of the seeds: they take several times as long."""
    with_coordinators = seed % WITH_COORDINATORS_EVERY == 0
    return run(
        seed,
        coordinator_mutation=CoordinatorMutation() if with_coordinators else None,
        watched=seed % WATCHED_EVERY == 5,
    )


def test_seeded_schedules(seeds: Callable[[str], Iterator[int]]) -> None:
    run_all(seeds("cluster"), run_some_with_coordinators)


def test_the_same_seed_is_the_same_run() -> None:
    first, second = run(7), run(7)
    assert first.checks.committed == second.checks.committed
    assert first.image.version == second.image.version


@pytest.mark.parametrize("mistake", MISTAKES)
def test_known_mistakes_are_found(mistake: str) -> None:
    """Each is one that Kafka made or warns of; without it the same seeds pass."""
    for seed in range(60):
        try:
            run(seed, Mutation(**{mistake: True}))
        except Broken:
            return
        except AssertionError:
            continue  # it did not heal: a consequence, but not the loss that is looked for
    raise AssertionError(f"{mistake} was not found")


@pytest.mark.parametrize("mistake", COORDINATOR_MISTAKES)
def test_known_mistakes_of_coordinators_are_found(mistake: str) -> None:
    for seed in (*FOUND_BY.get(mistake, ()), *range(30)):
        try:
            run(
                seed,
                coordinator_mutation=CoordinatorMutation(**{mistake: True}),
                watched=mistake == "tells_uncommitted",
            )
        except Broken:
            return
    raise AssertionError(f"{mistake} was not found")
