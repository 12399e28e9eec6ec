"""Creating, growing and deleting topics: what is refused, and with which code."""

from __future__ import annotations

from tests.compat.parity.session import Session, scenario, wait_until
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
)


def topic(
    name: str,
    partitions: int = 1,
    factor: int = 1,
    assignment: dict[int, list[int]] | None = None,
    **configs: str | None,
) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        assignments=[
            CreatableReplicaAssignment(partition_index=p, broker_ids=ids)
            for p, ids in (assignment or {}).items()
        ],
        configs=[
            CreatableTopicConfig(name=k.replace("_", "."), value=v) for k, v in configs.items()
        ],
    )


def creating(*topics: CreatableTopic, validate_only: bool = False) -> CreateTopicsRequest:
    return CreateTopicsRequest(topics=list(topics), validate_only=validate_only)


def ask_without_configs(
    s: Session, label: str, request: CreateTopicsRequest, version: int = 7
) -> None:
    """Observes the answer; of the configs in it only those that are not defaults."""
    answer = s.call(request, version, CreateTopicsResponse)
    s.note(
        label,
        [
            {
                "name": t.name,
                "code": t.error_code,
                "message": t.error_message is not None,
                "has id": any(t.topic_id),
                "partitions": t.num_partitions,
                "factor": t.replication_factor,
                "config code": t.topic_config_error_code,
                "configs": len(t.configs or []),
                "set configs": sorted(
                    (c.name, c.value) for c in t.configs or [] if c.config_source == 1
                ),
            }
            for t in answer.topics
        ],
    )


@scenario
def create_topics(s: Session) -> None:
    """Refusals and answers of CreateTopics."""
    for version in range(2, 8):
        ask_without_configs(s, f"v{version}", creating(topic(f"made-{version}", 2)), version)
    for label, one in (
        ("existing", topic("made-7")),
        ("empty name", topic("")),
        ("bad character", topic("a b")),
        ("dot", topic(".")),
        ("249 characters", topic("x" * 249)),
        ("250 characters", topic("x" * 250)),
        ("zero partitions", topic("c1", 0)),
        ("-1 partitions", topic("c2", -1)),
        ("-2 partitions", topic("c3", -2)),
        ("factor 0", topic("c4", 1, 0)),
        ("factor -1", topic("c5", 1, -1)),
        ("factor -2", topic("c6", 1, -2)),
        ("factor 3", topic("c7", 1, 3)),
        ("assigned", topic("c8", -1, -1, {0: [1], 1: [1]})),
        ("assigned, with a count", topic("c9", 2, -1, {0: [1], 1: [1]})),
        ("assigned, with a factor", topic("c10", -1, 1, {0: [1]})),
        ("assigned to a missing broker", topic("c11", -1, -1, {0: [99]})),
        ("assigned twice", topic("c12", -1, -1, {0: [1, 1]})),
        ("assigned to nobody", topic("c13", -1, -1, {0: []})),
        ("assigned with a gap", topic("c14", -1, -1, {0: [1], 2: [1]})),
        ("assigned from 1", topic("c15", -1, -1, {1: [1]})),
        ("assigned unevenly", topic("c16", -1, -1, {0: [1], 1: [1, 99]})),
        ("config", topic("c17", retention_ms="1000")),
        ("unknown config", topic("c18", nope="1")),
        ("bad config", topic("c19", retention_ms="x")),
        ("config out of range", topic("c20", segment_bytes="1")),
        ("null config", topic("c21", retention_ms=None)),
    ):
        ask_without_configs(s, label, creating(one))
    internal = creating(topic("__consumer_offsets", 1), validate_only=True)
    ask_without_configs(s, "internal name", internal)
    s.create("a.b")
    ask_without_configs(s, "collides", creating(topic("a_b")))
    ask_without_configs(s, "collides in one request", creating(topic("q.r"), topic("q_r")))
    ask_without_configs(s, "twice in one request", creating(topic("dup"), topic("dup")))
    ask_without_configs(s, "no topics", creating())
    ask_without_configs(s, "some good, some bad", creating(topic("ok-1"), topic("no!")))
    for version in (2, 4, 5, 7):
        ask_without_configs(
            s,
            f"validate only v{version}",
            creating(topic("only", 3, 1, retention_ms="5"), validate_only=True),
            version,
        )
    ask_without_configs(s, "validate only, existing", creating(topic("made-7"), validate_only=True))
    s.ask("validated is not made", _metadata("only"), 12)


def _metadata(name: str) -> MetadataRequest:
    return MetadataRequest(
        topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=False
    )


@scenario
def create_topics_configs(s: Session) -> None:
    """All configs in the answer, with their sources."""
    answer = s.call(
        creating(topic("with-configs", 1, 1, retention_ms="1000", cleanup_policy="compact")),
        7,
        CreateTopicsResponse,
    )
    configs = answer.topics[0].configs or []
    s.note(
        "configs",
        sorted(
            [c.name, c.value, c.read_only, c.config_source, c.is_sensitive]
            for c in configs
            if c.name != "min.insync.replicas"
        ),
    )


@scenario
def create_partitions(s: Session) -> None:
    """Refusals and answers of CreatePartitions."""
    s.create("grow", 2)

    def grow(
        label: str,
        name: str,
        count: int,
        assignments: list[list[int]] | None = None,
        version: int = 3,
        validate_only: bool = False,
    ) -> None:
        request = CreatePartitionsRequest(
            topics=[
                CreatePartitionsTopic(
                    name=name,
                    count=count,
                    assignments=None
                    if assignments is None
                    else [CreatePartitionsAssignment(broker_ids=ids) for ids in assignments],
                )
            ],
            timeout_ms=10000,
            validate_only=validate_only,
        )
        s.ask(label, request, version)

    grow("same count", "grow", 2)
    grow("fewer", "grow", 1)
    grow("zero", "grow", 0)
    grow("negative", "grow", -1)
    grow("unknown topic", "no-such", 3)
    grow("bad name", "a b", 3)
    grow("validate only", "grow", 5, validate_only=True)
    grow("assigned", "grow", 3, [[1]])
    grow("too few assignments", "grow", 5, [[1]])
    grow("too many assignments", "grow", 4, [[1], [1]])
    grow("assigned to a missing broker", "grow", 4, [[99]])
    grow("assigned twice", "grow", 4, [[1, 1]])
    grow("assigned to nobody", "grow", 4, [[]])
    grow("no assignments", "grow", 4, [])
    for version in range(4):
        grow(f"v{version}", "grow", 5 + version, version=version)
    s.wait_served("grow", 8)
    s.ask("then", _metadata("grow"), 12)
    twice = CreatePartitionsRequest(
        topics=[
            CreatePartitionsTopic(name="grow", count=10, assignments=None),
            CreatePartitionsTopic(name="grow", count=11, assignments=None),
        ],
        timeout_ms=10000,
    )
    s.ask("twice in one request", twice, 3)


def _by_name(name: str) -> DeleteTopicsRequest:
    return DeleteTopicsRequest(topic_names=[name], timeout_ms=10000)


@scenario
def delete_topics(s: Session) -> None:
    """Deleting by name and by id, and what is refused."""
    for version in range(1, 6):
        s.create(f"del-{version}")
        s.ask(f"v{version}", _by_name(f"del-{version}"), version)
        s.ask(f"unknown v{version}", _by_name("nothing"), version)
    by_id = s.create("del-by-id")
    s.create("del-by-name")

    def delete(label: str, *states: DeleteTopicState) -> None:
        s.ask(label, DeleteTopicsRequest(topics=list(states), timeout_ms=10000), 6)

    delete("by id", DeleteTopicState(name=None, topic_id=by_id))
    delete("by name", DeleteTopicState(name="del-by-name"))
    delete("unknown id", DeleteTopicState(name=None, topic_id=b"\7" * 16))
    delete("unknown name", DeleteTopicState(name="nothing"))
    delete("neither", DeleteTopicState(name=None))
    topic_id = s.create("del-both")
    delete("both", DeleteTopicState(name="del-both", topic_id=topic_id))
    delete("twice", DeleteTopicState(name="del-both"), DeleteTopicState(name="del-both"))
    delete(
        "twice, by name and id",
        DeleteTopicState(name="del-both"),
        DeleteTopicState(name=None, topic_id=topic_id),
    )
    delete("empty name", DeleteTopicState(name=""))
    delete("no topics")

    def gone() -> bool:
        answer = s.call(_metadata("del-by-name"), 12, MetadataResponse)
        return answer.topics[0].error_code != 0

    wait_until(gone, "the topic is still there")
    s.ask("then", _metadata("del-by-name"), 12)


@scenario
def describe_topic_partitions(s: Session) -> None:
    """Pages of partitions with a cursor."""
    s.create("dtp-a", 3)
    s.create("dtp-b", 2)
    names = [TopicRequest(name="dtp-b"), TopicRequest(name="dtp-a")]
    s.ask("two topics", DescribeTopicPartitionsRequest(topics=names), 0)
    page = DescribeTopicPartitionsRequest(topics=names, response_partition_limit=2)
    s.ask("first page", page, 0)
    page.cursor = Cursor(topic_name="dtp-a", partition_index=2)
    s.ask("from a cursor", page, 0)
    page.cursor = Cursor(topic_name="dtp-b", partition_index=0)
    s.ask("from a cursor at the second", page, 0)
    page.cursor = Cursor(topic_name="dtp-a", partition_index=-1)
    s.ask("negative cursor", page, 0)
    page.cursor = Cursor(topic_name="dtp-a", partition_index=9)
    s.ask("cursor behind the last", page, 0)
    unknown = DescribeTopicPartitionsRequest(
        topics=[TopicRequest(name="no-such"), TopicRequest(name="a b")]
    )
    s.ask("unknown", unknown, 0)
    zero = DescribeTopicPartitionsRequest(topics=names, response_partition_limit=0)
    s.ask("limit 0", zero, 0)
