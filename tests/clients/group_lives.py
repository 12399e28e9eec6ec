"""What groups of members go through together: joins, clean leaves, crashes, static restarts, and a
coordinator that is killed; with records all the while.

Owned by the tests of groups and by tests/recovery/groups.py. All groups of a plan take every step
at the same time, so that a session that has to run out is waited for once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import confluent_kafka
from confluent_kafka import admin as confluent

from tests.clients.group_members import TIMEOUT_S, Groups, Kind
from tests.house.broker import ServedBroker

#: Sessions and heartbeats that let a test see their end.
BROKER_ARGUMENTS = (
    "--workers", "2",
    "--set", "group.consumer.min.heartbeat.interval.ms=100",
    "--set", "group.consumer.heartbeat.interval.ms=300",
    "--set", "group.consumer.min.session.timeout.ms=1000",
    "--set", "group.consumer.session.timeout.ms=6000",
    "--set", "group.consumer.assignment.interval.ms=100",
)  # fmt: skip
RECORDS = 60
#: kafkajs has no group.instance.id. A group with range or roundrobin that kafka-python 3.0.12 leads
#: leaves members out when one with an id stands between two without.
WITHOUT_STATIC = (("kafkajs", ""), ("kafka-python", "range"), ("kafka-python", "roundrobin"))

Plan = Mapping[str, Sequence[Kind]]


def live(
    groups: Groups,
    plan: Plan,
    kill_coordinator: Callable[[str], None],
    tell: Callable[[str], object] = lambda _: None,
) -> None:
    """The whole life. plan: three kinds of members for each group."""
    first = {group: groups.join(kinds[0], group, _instance(kinds)) for group, kinds in plan.items()}
    second = {group: groups.join(kinds[1], group) for group, kinds in plan.items()}
    _go_on(groups, plan, "two members share")
    tell("two members share")

    third = {group: groups.join(kinds[2], group) for group, kinds in plan.items()}
    _go_on(groups, plan, "a third one joined")
    tell("a third one joined")

    for member in second.values():
        member.leave()
    _go_on(groups, plan, "one left")
    tell("one left")

    for member in first.values():
        if member.instance:
            member.leave()
            groups.join(member.kind, member.group, member.instance)
    _go_on(groups, plan, "the static one restarted")
    tell("the static one restarted")

    for group in plan:
        kill_coordinator(group)
    _go_on(groups, plan, "the coordinators were killed")
    tell("the coordinators were killed")

    for member in third.values():
        member.kill()
    groups.produce(RECORDS)
    _go_on(groups, plan, "one crashed")
    tell("one crashed")

    for group in plan:
        for member in groups.running(group):
            member.leave()
    for group in plan:
        groups.check(group)


def _instance(kinds: Sequence[Kind]) -> str:
    without = any(
        kind.client == client and assignor in (kind.assignor, "")
        for kind in kinds
        for client, assignor in WITHOUT_STATIC
    )
    return "" if without else "static"


def _go_on(groups: Groups, plan: Plan, what: str) -> None:
    """Everybody gets their part, and everything that comes is read."""
    for group in plan:
        groups.wait(lambda group=group: groups.settled(group), f"{group}: {what}, all is owned")
    groups.produce(RECORDS)
    for group in plan:
        groups.wait(lambda group=group: groups.all_read(group), f"{group}: {what}, all is read")


class CoordinatorKiller:
    """Kills the worker that coordinates a group; one worker once in a round of groups."""

    def __init__(self, broker: ServedBroker, kill: Callable[[ServedBroker, int], None]) -> None:
        self._broker = broker
        self._kill = kill
        self._killed: set[int] = set()

    def __call__(self, group: str) -> None:
        node = self._coordinator(group)
        if node not in self._killed:
            self._killed.add(node)
            self._kill(self._broker, node)

    def _coordinator(self, group: str) -> int:
        client = confluent.AdminClient({"bootstrap.servers": self._broker.bootstrap_servers})
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                described = client.describe_consumer_groups([group])[group].result(TIMEOUT_S)
            except confluent_kafka.KafkaException:
                # The worker of another group was killed: this one is loaded there, too.
                assert time.monotonic() < deadline, group
                time.sleep(0.05)
            else:
                return int(described.coordinator.id)
