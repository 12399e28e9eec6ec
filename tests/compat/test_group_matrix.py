"""Java with both protocols, franz-go, kafkajs and the Python clients share groups, each with its
assignors and mixed; a Java group changes its protocol there and back while records flow. (A short
version; the long one is tests/recovery/groups.py.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import admin as confluent

from tests.clients.group_lives import BROKER_ARGUMENTS, RECORDS, CoordinatorKiller, Plan, live
from tests.clients.group_members import TIMEOUT_S, Groups, Kind, Member, python_kind
from tests.clients.test_restarts import kill_worker
from tests.compat.conftest import TARGET_IS_REFERENCE
from tests.compat.group_kinds import GO_ASSIGNORS, go_kind, java_kind, node_kind
from tests.compat.programs import ProgramMissing
from tests.house.broker import ServedBroker

CONFLUENT, AIO = "confluent-kafka", "aiokafka"
PARTITIONS = 6
pytestmark = [
    pytest.mark.usefixtures("java"),
    pytest.mark.timeout(180, func_only=True),
    pytest.mark.skipif(TARGET_IS_REFERENCE, reason="it kills workers"),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ServedBroker]:
    with ServedBroker(tmp_path / "data", BROKER_ARGUMENTS) as running:
        yield running


@pytest.fixture
def groups(broker: ServedBroker) -> Iterator[Groups]:
    made = Groups(broker.bootstrap_servers, "t", PARTITIONS)
    made.create()
    try:
        yield made
    finally:
        made.end()


def plan() -> Plan:
    try:
        go = {name: go_kind(name) for name in GO_ASSIGNORS}
        node = node_kind()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    return {
        "java-consumer": [java_kind("", "consumer")] * 3,
        "kafkajs": [node] * 3,
        "mixed-range": [java_kind("range"), go["range"], python_kind(CONFLUENT, "range")],
        "mixed-roundrobin": [
            go["roundrobin"],
            java_kind("roundrobin"),
            python_kind(AIO, "roundrobin"),
        ],
        "mixed-sticky": [java_kind("sticky"), go["sticky"], python_kind(AIO, "sticky")],
        "mixed-cooperative": [
            go["cooperative-sticky"],
            java_kind("cooperative-sticky"),
            python_kind(CONFLUENT, "cooperative-sticky"),
        ],
    }


def test_groups_of_all_clients(broker: ServedBroker, groups: Groups) -> None:
    live(groups, plan(), CoordinatorKiller(broker, kill_worker))


def test_a_java_group_changes_its_protocol_there_and_back(groups: Groups) -> None:
    """Member by member, while records flow."""
    client = confluent.AdminClient({"bootstrap.servers": groups.bootstrap})

    def go_on(what: str, group_type: str) -> None:
        groups.wait(lambda: groups.settled("g"), f"{what}: all is owned")
        groups.produce(RECORDS)
        groups.wait(lambda: groups.all_read("g"), f"{what}: all is read")
        listed = client.list_consumer_groups().result(TIMEOUT_S).valid
        assert [each.type.name for each in listed if each.group_id == "g"] == [group_type], what

    classic, consumer = java_kind("cooperative-sticky"), java_kind("", "consumer")

    def replace(old: list[Member], kinds: list[Kind], types: list[str]) -> list[Member]:
        new = []
        for member, kind, group_type in zip(old, kinds, types, strict=True):
            new.append(groups.join(kind, "g"))
            groups.wait(lambda: groups.settled("g"), f"{kind} came")
            groups.produce(RECORDS)
            member.leave()
            go_on(f"{kind} in the place of another", group_type)
        return new

    members = [groups.join(classic, "g") for _ in range(2)]
    go_on("two classic members", "CLASSIC")
    members = replace(members, [consumer] * 2, ["CONSUMER", "CONSUMER"])
    members = replace(members, [classic] * 2, ["CONSUMER", "CLASSIC"])
    for member in members:
        member.leave()
    groups.check("g")
