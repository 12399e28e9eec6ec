"""Elections, directories, reassignments and the list of what has configs: the administration of a
cluster of which every partition has one replica.
"""

from __future__ import annotations

from tests.compat.parity.scenarios_admin import altering
from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from tidelog.protocol.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from tidelog.protocol.messages.describe_log_dirs import (
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)
from tidelog.protocol.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    UserName,
)
from tidelog.protocol.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    TopicPartitions,
)
from tidelog.protocol.messages.list_config_resources import (
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)
from tidelog.protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsTopics,
)
from tidelog.protocol.messages.unregister_broker import UnregisterBrokerRequest


@scenario
def elect_leaders(s: Session) -> None:
    """Elections where every partition is led by its only replica."""
    s.create("el", 2)

    def asked(label: str, request: ElectLeadersRequest, version: int) -> None:
        answer = s.call(request, version, ElectLeadersResponse)
        # (Other scenarios have topics, too.)
        answer.replica_election_results = sorted(
            (
                topic
                for topic in answer.replica_election_results
                if request.topic_partitions is not None or topic.topic == "el"
            ),
            key=lambda topic: topic.topic,
        )
        for topic in answer.replica_election_results:
            topic.partition_result.sort(key=lambda each: each.partition_id)
        s.note(label, observe(answer, version))

    def elect(label: str, *topics: tuple[str, list[int]], version: int = 2, kind: int = 0) -> None:
        wanted = [TopicPartitions(topic=name, partitions=parts) for name, parts in topics]
        asked(label, ElectLeadersRequest(topic_partitions=wanted, election_type=kind), version)

    for version in range(3):
        elect(f"preferred v{version}", ("el", [0, 1]), version=version)
    elect("unclean", ("el", [0, 1]), kind=1)
    elect("unknown", ("el", [0, 7]), ("no-such", [0]), ("a b", [0]))
    elect("nothing")
    elect("a topic without partitions", ("el", []))
    elect("a partition twice", ("el", [0, 0]))
    elect("a topic twice", ("el", [0]), ("el", [1]))
    s.ask("type 9", ElectLeadersRequest(topic_partitions=[], election_type=9), 2)
    for kind in (0, 1):
        request = ElectLeadersRequest(topic_partitions=None, election_type=kind)
        asked(f"all, type {kind}", request, 2)
    asked("all v0", ElectLeadersRequest(topic_partitions=None), 0)


@scenario
def alter_replica_log_dirs(s: Session) -> None:
    """Moves of logs where there is one directory."""
    s.create("rld", 2)
    held = s.call(DescribeLogDirsRequest(topics=[]), 4, DescribeLogDirsResponse)
    here = held.results[0].log_dir

    def move(label: str, *dirs: tuple[str, list[tuple[str, list[int]]]], version: int = 2) -> None:
        request = AlterReplicaLogDirsRequest(
            dirs=[
                AlterReplicaLogDir(
                    path=path,
                    topics=[AlterReplicaLogDirTopic(name=n, partitions=p) for n, p in topics],
                )
                for path, topics in dirs
            ]
        )
        s.ask(label, request, version)

    move("the one that it is in", (here, [("rld", [0, 1])]))
    move("v1", (here, [("rld", [0])]), version=1)
    move("another one", ("/no/such/directory", [("rld", [0])]))
    move("a relative one", ("some/where", [("rld", [0])]))
    move("unknown topic", (here, [("no-such", [0])]))
    move("unknown partition", (here, [("rld", [9])]))
    move("unknown topic, another one", ("/no/such/directory", [("no-such", [0])]))
    move("bad topic name", (here, [("a b", [0])]))
    move("nothing")
    move("no topics", (here, []))
    move("no path", ("", [("rld", [0])]))
    move("twice", (here, [("rld", [0])]), ("/no/such/directory", [("rld", [0])]))


@scenario
def list_partition_reassignments(s: Session) -> None:
    """Nothing is under way."""
    s.create("lpr", 2)

    def ask(label: str, topics: list[tuple[str, list[int]]] | None) -> None:
        request = ListPartitionReassignmentsRequest(
            topics=None
            if topics is None
            else [
                ListPartitionReassignmentsTopics(name=name, partition_indexes=indexes)
                for name, indexes in topics
            ]
        )
        s.ask(label, request, 0)

    ask("all", None)
    ask("none", [])
    ask("one", [("lpr", [0, 1])])
    ask("unknown", [("no-such", [0]), ("lpr", [9]), ("a b", [0])])


@scenario
def alter_partition_reassignments(s: Session) -> None:
    """Where there is no other node: what is refused, and what changes nothing."""
    s.create("apr", 2)

    def ask(
        label: str,
        *items: tuple[str, int, list[int] | None],
        version: int = 1,
        change_factor: bool = True,
    ) -> None:
        request = AlterPartitionReassignmentsRequest(
            topics=[
                ReassignableTopic(
                    name=name,
                    partitions=[ReassignablePartition(partition_index=index, replicas=replicas)],
                )
                for name, index, replicas in items
            ],
            allow_replication_factor_change=change_factor,
        )
        s.ask(label, request, version)

    for version in range(2):
        ask(f"where it is v{version}", ("apr", 0, [1]), version=version)
    ask("nothing")
    ask("unknown topic", ("no-such", 0, [1]))
    ask("unknown partition", ("apr", 9, [1]))
    ask("negative partition", ("apr", -1, [1]))
    ask("bad topic name", ("a b", 0, [1]))
    ask("no replicas", ("apr", 0, []))
    ask("a replica twice", ("apr", 0, [1, 1]))
    ask("an unknown node", ("apr", 0, [1, 999]))
    ask("a negative node", ("apr", 0, [-1]))
    ask("cancel nothing", ("apr", 0, None))
    ask("cancel of an unknown topic", ("no-such", 0, None))
    ask("another factor", ("apr", 0, [1, 999]), change_factor=False)
    ask("the same factor", ("apr", 0, [1]), change_factor=False)
    ask("several", ("apr", 0, [1]), ("no-such", 0, [1]), ("apr", 1, None))


@scenario
def unregister_broker(s: Session) -> None:
    """Nodes that are not there."""
    for broker in (999, -1):
        s.ask(f"node {broker}", UnregisterBrokerRequest(broker_id=broker), 0)


@scenario
def list_config_resources(s: Session) -> None:
    """What has configs, by kind."""
    s.create("lcr")
    altering(s, "client metrics", 16, "lcr-m", ("interval.ms", 0, "500"))
    altering(s, "group", 32, "lcr-g", ("consumer.session.timeout.ms", 0, "50000"))

    def listed(kinds: list[int], version: int = 1) -> ListConfigResourcesResponse:
        request = ListConfigResourcesRequest(resource_types=kinds)
        return s.call(request, version, ListConfigResourcesResponse)

    def group_is_there() -> bool:
        return any(each.resource_name == "lcr-g" for each in listed([32]).config_resources)

    wait_until(group_is_there, "the group with configs is not listed")

    def ask(label: str, *kinds: int, version: int = 1) -> None:
        answer = listed(list(kinds), version)
        answer.config_resources = sorted(
            (
                each
                for each in answer.config_resources
                # Brokers, and what this scenario has made.
                if each.resource_type in (4, 8) or each.resource_name.startswith("lcr")
            ),
            key=lambda each: (each.resource_type, each.resource_name),
        )
        s.note(label, observe(answer, version))

    ask("v0", version=0)
    ask("all")
    for kind in (2, 4, 8, 16, 32):
        ask(f"type {kind}", kind)
    ask("types 2 and 4", 2, 4)
    ask("a type twice", 4, 4)
    ask("type 0", 0)
    ask("type 99", 99)
    ask("types 4 and 99", 4, 99)


@scenario
def describe_user_scram_credentials(s: Session) -> None:
    """Nobody has any."""

    def ask(label: str, *names: str) -> None:
        request = DescribeUserScramCredentialsRequest(users=[UserName(name=n) for n in names])
        answer = s.call(request, 0, DescribeUserScramCredentialsResponse)
        answer.results.sort(key=lambda result: result.user)
        s.note(label, observe(answer, 0))

    s.ask("all", DescribeUserScramCredentialsRequest(users=None), 0)
    ask("none")
    ask("two", "a", "b")
    ask("one twice", "a", "b", "a")
