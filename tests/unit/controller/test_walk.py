"""A long random walk over every event that concerns nodes and replicas: after each of them the
metadata holds together, however the events fell on each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.unit.controller.worlds import World
from tidelog.controller.requests import (
    AlterConfigs,
    AlterIsr,
    AlterIsrAnswer,
    AlterReassignments,
    ConfigChange,
    ControllerAnswer,
    ControllerRequest,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    Done,
    ElectLeaders,
    ElectUnclean,
    FenceNode,
    IsrChange,
    MorePartitions,
    NewTopic,
    NodeDown,
    PartitionReassignment,
    RebalanceLeaders,
    RegisterNode,
    RegisterNodeAnswer,
    ReportOffline,
    ResourceChange,
    ShutDownNode,
    TopicReference,
    UnfenceNode,
    UnregisterNode,
)
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.metadata.records import NO_LEADER, Endpoint, PartitionRecord

NODES = (1, 2, 3, 4, 5)
STEPS = 4_000


class Walk:
    """One cluster, its events in random order. `running`: the epochs of the processes that are
    alive, which is not what the metadata says of them.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(0, seed=seed, replication_factor_max=4)
        self.world.image = MetadataImage()
        self.running: dict[int, int] = {}
        self.epochs: dict[int, int] = {}
        self.names = 0
        self.all_start = False
        self.acted: set[str] = set()
        for node_id in NODES:
            self.start(node_id)
            self.serve(node_id)

    @property
    def image(self) -> MetadataImage:
        return self.world.image

    # --- events ---

    def start(self, node_id: int, *, unclean: bool = False) -> None:
        endpoint = Endpoint("PLAINTEXT", "", 9091 + node_id)
        answer = self.ask(
            RegisterNode(node_id, f"r{node_id % 2}", (endpoint,), "h", 1, unclean=unclean)
        )
        assert isinstance(answer, RegisterNodeAnswer)
        assert answer.node_epoch > self.epochs.get(node_id, -1)
        self.epochs[node_id] = self.running[node_id] = answer.node_epoch
        if unclean:
            # Others than itself are in no ISR that it has left.
            for _, partition in self.image.partitions_held_by(node_id):
                assert partition.isr == (node_id,) or node_id not in partition.isr

    def serve(self, node_id: int) -> None:
        if node_id in self.running:
            self.ask(UnfenceNode(node_id, self.running[node_id]))

    def step_restart(self) -> None:
        node_id = self.rng.choice(NODES)
        if node_id not in self.running:
            self.start(node_id, unclean=self.rng.random() < 0.2)

    def step_serve(self) -> None:
        self.serve(self.rng.choice(NODES))

    def step_die(self) -> None:
        some = [n for n in self.running if self.rng.random() < 0.25]
        lives = tuple((n, self.running.pop(n)) for n in some)
        self.ask(NodeDown(lives, fence=self.rng.random() < 0.2))
        # One decision for one death: the same event again finds nothing to do.
        self.ask(NodeDown(lives))
        assert self.world.records == []

    def step_everything_restarts(self) -> None:
        """All processes end with the controller's own, which therefore sees none of them end."""
        if self.rng.random() < 0.8:
            return
        led = {(t.topic_id, at.index): at.leader for t, at in self.all_partitions()}
        self.all_start = True
        ended = sorted(self.running)
        self.rng.shuffle(ended)
        for node_id in ended:
            self.start(node_id)
        # Nobody's leadership is handed round because others have not registered yet.
        assert {(t.topic_id, at.index): at.leader for t, at in self.all_partitions()} == led
        for node_id in ended:
            self.serve(node_id)
        self.all_start = False
        self.check(RebalanceLeaders())

    def all_partitions(self) -> Iterator[tuple[TopicImage, PartitionImage]]:
        return ((topic, at) for topic in self.image.topics.values() for at in topic.partitions)

    def step_fence(self) -> None:
        node_id = self.rng.choice(NODES)
        # Whoever is given up is dead: its epoch is behind its next one.
        if node_id in self.image.nodes and node_id not in self.running:
            self.ask(FenceNode(node_id, self.epochs[node_id]))

    def step_stale_life(self) -> None:
        node_id = self.rng.choice(NODES)
        epoch = self.epochs[node_id] - 1
        for event in (NodeDown(((node_id, epoch),)), FenceNode(node_id, epoch)):
            self.ask(event)
            assert self.world.records == []
        self.ask(ShutDownNode(node_id, epoch))
        assert self.world.records == []

    def step_shut_down(self) -> None:
        if self.running and self.rng.random() < 0.3:
            node_id = self.rng.choice(sorted(self.running))
            self.ask(ShutDownNode(node_id, self.running[node_id]))

    def step_unregister(self) -> None:
        if self.rng.random() < 0.4:
            self.ask(UnregisterNode(self.rng.choice(NODES)))

    def step_alter_isr(self) -> None:
        """A leader that runs asks for what it may well believe, right or wrong."""
        if not self.running:
            return
        node_id = self.rng.choice(sorted(self.running))
        changes = []
        for topic, at in self.image.partitions_led_by(node_id):
            if self.rng.random() < 0.6:
                others = [n for n in at.replicas if n != node_id and self.rng.random() < 0.7]
                isr = tuple((n, self.epochs.get(n, 0)) for n in (node_id, *others))
                old = self.rng.random() < 0.1
                changes.append(
                    IsrChange(
                        topic.topic_id, at.index, at.leader_epoch, at.partition_epoch - old, isr
                    )
                )
        before = self.image
        answer = self.ask(AlterIsr(node_id, self.running[node_id], tuple(changes)))
        assert isinstance(answer, AlterIsrAnswer)
        for change, result in zip(changes, answer.partitions, strict=True):
            now = self.image.topic_by_id(change.topic_id)
            was = before.topic_by_id(change.topic_id)
            assert now is not None and was is not None
            at = now.partitions[change.partition]
            if result.error_code == 0:
                assert (result.leader, result.isr, result.leader_epoch, result.partition_epoch) == (
                    (at.leader, at.isr, at.leader_epoch, at.partition_epoch)
                )
                assert at.leader == node_id
            elif result.error_code == 108:
                assert at.leader != node_id
            else:
                assert at is was.partitions[change.partition]

    def step_catch_up(self) -> None:
        """A leader finds every live replica in sync."""
        for node_id in sorted(self.running):
            changes = []
            live = self.image.live_node_ids() | {node_id}
            for topic, at in self.image.partitions_led_by(node_id):
                here = live.difference(at.offline)
                isr = tuple((n, self.image.nodes[n].epoch) for n in at.replicas if n in here)
                changes.append(
                    IsrChange(topic.topic_id, at.index, at.leader_epoch, at.partition_epoch, isr)
                )
            self.ask(AlterIsr(node_id, self.running[node_id], tuple(changes)))

    def step_disks(self) -> None:
        """Log directories of a node fail, or are back after its start."""
        if not self.running:
            return
        node_id = self.rng.choice(sorted(self.running))
        share = self.rng.choice((0.0, 0.0, 0.3))
        offline = tuple(
            (topic.topic_id, at.index)
            for topic, at in self.image.partitions_held_by(node_id)
            if self.rng.random() < share
        )
        answer = self.ask(ReportOffline(node_id, self.running[node_id], offline))
        assert isinstance(answer, Done)
        if answer.error_code:
            assert node_id not in self.image.nodes  # it was unregistered while it started
            return
        for topic, at in self.image.partitions_held_by(node_id):
            assert ((topic.topic_id, at.index) in offline) == (node_id in at.offline)

    def some_partition(self) -> tuple[str, PartitionImage] | None:
        if not self.image.topics:
            return None
        topic = self.image.topics[self.rng.choice(sorted(self.image.topics))]
        return topic.name, self.rng.choice(topic.partitions)

    def step_reassign(self) -> None:
        found = self.some_partition()
        if found is not None:
            count = self.rng.randint(1, 4)
            target: tuple[int, ...] | None = tuple(self.rng.sample(NODES, count))
            if self.rng.random() < 0.3:
                target = None
            move = PartitionReassignment(found[0], found[1].index, target)
            self.ask(AlterReassignments((move,)))

    def step_elect(self) -> None:
        found = self.some_partition()
        if found is not None:
            one = ((found[0], found[1].index),)
            kind = int(self.rng.random() < 0.3)
            self.ask(ElectLeaders(kind, one if self.rng.random() < 0.7 else None))

    def step_timers(self) -> None:
        self.ask(RebalanceLeaders() if self.rng.random() < 0.5 else ElectUnclean())

    def step_topics(self) -> None:
        if len(self.image.topics) > 12 or self.rng.random() < 0.3:
            if self.image.topics:
                name = self.rng.choice(sorted(self.image.topics))
                self.ask(DeleteTopics((TopicReference(name),)))
            return
        self.names += 1
        name = f"t{self.names}"
        new = NewTopic(name, self.rng.randint(1, 3), self.rng.randint(1, 4))
        self.ask(CreateTopics((new,)))
        if name in self.image.topics and self.rng.random() < 0.3:
            allow = ConfigChange("unclean.leader.election.enable", "true")
            self.ask(AlterConfigs((ResourceChange(2, name, (allow,)),)))

    def step_more_partitions(self) -> None:
        found = self.some_partition()
        if found is not None and len(self.image.topics[found[0]].partitions) < 5:
            count = len(self.image.topics[found[0]].partitions) + 1
            self.ask(CreatePartitions((MorePartitions(found[0], count),)))

    # --- the walk ---

    def step(self) -> None:
        steps: list[Callable[[], None]] = [
            getattr(self, name) for name in sorted(dir(self)) if name.startswith("step_")
        ]
        # Nodes come back more often than they go, and replicas catch up.
        steps += [self.step_restart] * 4 + [self.step_serve] * 6 + [self.step_catch_up] * 3
        before = self.image
        step = self.rng.choice(steps)
        step()
        if self.image is not before:
            self.acted.add(step.__name__)

    def ask(self, request: ControllerRequest) -> ControllerAnswer:
        before = self.image
        answer = self.world.ask(request)
        self.check(request)
        self.check_growth(before, request)
        return answer

    def check(self, request: ControllerRequest) -> None:
        image = self.image
        live = image.live_node_ids()
        for topic, at in self.all_partitions():
            self.check_partition(topic.name, at, live)
        for node in image.nodes.values():
            assert not (node.fenced and node.down)
            if node.is_live and not self.all_start:
                assert self.running.get(node.node_id) == node.epoch
        counts = {node: count for node, count in image.leader_counts.items() if count}
        led = [at.leader for _, at in self.all_partitions()]
        assert counts == {node: led.count(node) for node in led if node != NO_LEADER}

    def check_partition(self, name: str, at: PartitionImage, live: frozenset[int]) -> None:
        place = f"{name}-{at.index} {at}"
        assert set(at.offline) <= set(at.replicas), place
        assert at.leader not in at.offline, place
        live = live.difference(at.offline)
        assert at.isr and set(at.isr) <= set(at.replicas), place
        assert len(set(at.replicas)) == len(at.replicas), place
        assert len(set(at.isr)) == len(at.isr), place
        assert set(at.adding_replicas) | set(at.removing_replicas) <= set(at.replicas), place
        assert set(at.adding_replicas).isdisjoint(at.removing_replicas), place
        if at.leader == NO_LEADER:
            assert live.isdisjoint(at.isr), place
        else:
            assert at.leader in at.isr, place
            node = self.image.nodes[at.leader]
            assert not node.fenced, place
            if at.leader not in live and not self.all_start:
                # A leader that shuts down and has no heir, or waits alone to be started again.
                assert live.isdisjoint(at.isr), place
                assert not node.down or at.isr == (at.leader,), place
        if at.is_being_reassigned:
            target = set(at.replicas).difference(at.removing_replicas)
            assert not target <= set(at.isr) or live.isdisjoint(target) or self.all_start, place

    def check_growth(self, before: MetadataImage, request: ControllerRequest) -> None:
        for record in self.world.records:
            if not isinstance(record, PartitionRecord):
                continue
            topic = before.topic_by_id(record.topic_id)
            if topic is None or record.partition >= len(topic.partitions):
                continue
            old = topic.partitions[record.partition]
            assert record.partition_epoch > old.partition_epoch
            if record.leader != old.leader or not set(old.replicas) <= set(record.replicas):
                assert record.leader_epoch > old.leader_epoch
            unclean = {(name, index) for name, index, _ in self.world.unclean}
            if not isinstance(request, AlterIsr) and (topic.name, record.partition) not in unclean:
                # Nobody comes into an ISR but by its leader, and nobody leads from outside of it.
                assert set(record.isr) <= set(old.isr)
                assert record.leader in (old.leader, NO_LEADER, *old.isr)


@pytest.mark.parametrize("seed", range(3))
def test_a_walk(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    # Every kind of event has changed something (but those of earlier lives, which never may).
    steps = {name for name in dir(walk) if name.startswith("step_")}
    assert walk.acted == steps - {"step_stale_life"}
    again = MetadataImage.from_records(walk.image.to_records(), walk.image.version)
    assert (again.nodes, again.topics) == (walk.image.nodes, walk.image.topics)
