"""Creating, deleting and growing topics: results, records and Kafka's error codes."""

from __future__ import annotations

import base64
import random
from collections import Counter

import msgspec
import pytest

from tests.unit.controller.worlds import World, node
from tidelog.config import BrokerConfig
from tidelog.controller.requests import (
    CreatePartitions,
    CreatePartitionsAnswer,
    CreateTopics,
    CreateTopicsAnswer,
    DeleteTopics,
    DeleteTopicsAnswer,
    MorePartitions,
    NamedResult,
    NewTopic,
    ReplicaAssignment,
    TopicReference,
)
from tidelog.controller.topics import internal_topic, random_topic_id
from tidelog.limits import PARTITIONS_PER_REQUEST_MAX
from tidelog.metadata.records import ConfigRecord, PartitionRecord, TopicRecord
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC


def assigned(*replica_lists: tuple[int, ...]) -> tuple[ReplicaAssignment, ...]:
    return tuple(ReplicaAssignment(i, replicas) for i, replicas in enumerate(replica_lists))


def test_a_created_topic() -> None:
    world = World(nodes=2)
    answer = world.ask(CreateTopics((NewTopic("t", 3, 1, configs=(("retention.ms", "5"),)),)))
    assert isinstance(answer, CreateTopicsAnswer)
    (result,) = answer.topics
    topic = world.image.topics["t"]
    assert (result.error_code, result.partition_count, result.replication_factor) == (0, 3, 1)
    assert result.topic_id == topic.topic_id != bytes(16)
    assert result.configs == (("retention.ms", "5"),)
    assert world.records == [
        TopicRecord(topic.topic_id, "t"),
        PartitionRecord(topic.topic_id, 0, (1,), (1,), 1, 0, 0),
        PartitionRecord(topic.topic_id, 1, (2,), (2,), 2, 0, 0),
        PartitionRecord(topic.topic_id, 2, (1,), (1,), 1, 0, 0),
        ConfigRecord(2, "t", "retention.ms", "5"),
    ]


def test_defaults() -> None:
    world = World(static={"num.partitions": "4"})
    assert world.create(NewTopic("t")) == [0]
    assert len(world.image.topics["t"].partitions) == 4


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (NewTopic(""), 17),
        (NewTopic("a b"), 17),
        (NewTopic("x.y"), 17),
        (NewTopic("there"), 36),
        (NewTopic("t", 0), 37),
        (NewTopic("t", -2), 37),
        (NewTopic("t", 1, 0), 38),
        (NewTopic("t", 1, -2), 38),
        (NewTopic("t", 1, 4), 38),
        (NewTopic("t", configs=(("retention.ms", None),)), 40),
        (NewTopic("t", configs=(("retention.ms", "x"),)), 40),
        (NewTopic("t", configs=(("unheard.of", "x"),)), 40),
        (NewTopic("t", 1, assignments=assigned((1,))), 42),
        (NewTopic("t", -1, 1, assignments=assigned((1,))), 42),
        (NewTopic("t", assignments=assigned(())), 39),
        (NewTopic("t", assignments=assigned((9,))), 39),
        (NewTopic("t", assignments=assigned((3,))), 39),
        (NewTopic("t", assignments=assigned((1, 1))), 39),
        (NewTopic("t", assignments=assigned((1,), ())), 39),
        (NewTopic("t", assignments=(ReplicaAssignment(1, (1,)),)), 39),
        (NewTopic("t", assignments=(ReplicaAssignment(-1, (1,)),)), 39),
        (NewTopic("t", assignments=assigned((1,)) * 2), 39),
        (NewTopic("t", PARTITIONS_PER_REQUEST_MAX + 1), 44),
    ],
)
def test_refusals(item: NewTopic, code: int) -> None:
    world = World(nodes=2)
    world.apply(node(3, fenced=True))
    world.create(NewTopic("there"), NewTopic("x_y"))
    before = world.image
    assert world.create(item) == [code]
    assert world.image is before


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (NewTopic("there"), "Topic 'there' already exists."),
        (NewTopic("x.y"), "Topic 'x.y' collides with existing topic: x_y"),
        (
            NewTopic("t", 1, 3),
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 "
            "cannot be reached because only 2 broker(s) are registered or some brokers have all "
            "their log directories cordoned.",
        ),
        (
            NewTopic("t", assignments=assigned((9,))),
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
    ],
)
def test_sentences_that_kafkas_tools_print(item: NewTopic, sentence: str) -> None:
    world = World(nodes=2)
    world.create(NewTopic("there"), NewTopic("x_y"))
    answer = world.ask(CreateTopics((item,)))
    assert isinstance(answer, CreateTopicsAnswer)
    assert answer.topics[0].error_message == sentence


def test_items_are_decided_on_their_own() -> None:
    world = World()
    items = (NewTopic("a"), NewTopic("a b"), NewTopic("c"), NewTopic("d"), NewTopic("d"))
    assert world.create(*items) == [0, 17, 0, 42, 42]
    assert set(world.image.topics) == {"a", "c"}
    assert world.create(NewTopic("e.f"), NewTopic("e_f")) == [0, 17]


def test_too_many_partitions_fail_the_whole_request() -> None:
    world = World(static={"num.partitions": "2"})
    most = PARTITIONS_PER_REQUEST_MAX
    assert world.create(NewTopic("a", most - 1), NewTopic("b")) == [44, 44]
    assert world.create(NewTopic("a", most - 2), NewTopic("b")) == [0, 0]


def test_validate_only_changes_nothing_and_says_everything() -> None:
    world = World()
    request = CreateTopics((NewTopic("t", 2), NewTopic("a b")), validate_only=True)
    answer = world.ask(request)
    assert isinstance(answer, CreateTopicsAnswer)
    assert [r.error_code for r in answer.topics] == [0, 17]
    assert (answer.topics[0].partition_count, answer.topics[0].topic_id) == (2, bytes(16))
    assert world.records == []


def test_manual_assignment_in_any_order() -> None:
    world = World(nodes=3)
    assignments = (ReplicaAssignment(1, (3,)), ReplicaAssignment(0, (2,)))
    assert world.create(NewTopic("t", assignments=assignments)) == [0]
    assert [p.replicas for p in world.image.topics["t"].partitions] == [(2,), (3,)]


def test_leaders_balance_over_topics() -> None:
    world = World(nodes=3)
    for index in range(30):
        assert world.create(NewTopic(f"t{index}", 1)) == [0]
    assert world.image.leader_counts == {1: 10, 2: 10, 3: 10}
    world.create(*[NewTopic(f"u{index}", 1) for index in range(30)])
    assert world.image.leader_counts == {1: 20, 2: 20, 3: 20}


def test_fenced_nodes_get_nothing() -> None:
    world = World(nodes=2)
    world.apply(node(2, fenced=True))
    assert world.create(NewTopic("t", 4)) == [0]
    assert {p.leader for p in world.image.topics["t"].partitions} == {1}
    world.apply(node(1, fenced=True))
    assert world.create(NewTopic("u")) == [38]


def test_automatic_creation_follows_the_broker() -> None:
    world = World(static={"num.partitions": "3", "offsets.topic.num.partitions": "7"})
    request = CreateTopics((NewTopic("t", 9, 9), NewTopic(GROUP_METADATA_TOPIC)), automatic=True)
    answer = world.ask(request)
    assert isinstance(answer, CreateTopicsAnswer)
    assert [r.error_code for r in answer.topics] == [0, 0]
    assert len(world.image.topics["t"].partitions) == 3
    assert len(world.image.topics[GROUP_METADATA_TOPIC].partitions) == 7
    assert world.image.config(2, GROUP_METADATA_TOPIC) == {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": "104857600",
    }


def test_internal_topics_by_hand_are_ordinary() -> None:
    world = World()
    assert world.create(NewTopic(GROUP_METADATA_TOPIC, 2)) == [0]
    assert world.image.config(2, GROUP_METADATA_TOPIC) == {}


def test_internal_replication_fits_what_there_is() -> None:
    config = BrokerConfig.resolve()
    for name in (GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC):
        for nodes in (0, 1, 5):
            topic = internal_topic(name, config, nodes)
            assert topic is not None and topic.replication_factor == 1
    assert internal_topic("else", config, 1) is None


def test_topic_ids_are_version_4_and_no_option() -> None:
    rng = random.Random(3)
    ids = {random_topic_id(rng) for _ in range(500)}
    assert len(ids) == 500
    for topic_id in ids:
        assert topic_id[6] >> 4 == 4
        assert topic_id[8] >> 6 == 2
        assert not base64.urlsafe_b64encode(topic_id).startswith(b"-")


# --- deletion ----------------------------------------------------------------------------------


def delete(world: World, *items: TopicReference) -> list[int]:
    answer = world.ask(DeleteTopics(items))
    assert isinstance(answer, DeleteTopicsAnswer)
    return [result.error_code for result in answer.topics]


def test_delete_by_name_and_id_ends_configs_too() -> None:
    world = World()
    world.create(NewTopic("a", 3, configs=(("retention.ms", "1"),)), NewTopic("b"), NewTopic("c"))
    topic_id = world.image.topics["b"].topic_id
    answer = world.ask(DeleteTopics((TopicReference("a"), TopicReference(topic_id=topic_id))))
    assert isinstance(answer, DeleteTopicsAnswer)
    assert [(r.name, r.error_code) for r in answer.topics] == [("a", 0), ("b", 0)]
    assert answer.topics[1].topic_id == topic_id
    assert set(world.image.topics) == {"c"}
    assert world.image.configs == {}
    assert world.create(NewTopic("a")) == [0]
    assert world.image.config(2, "a") == {}


def test_deletion_refusals() -> None:
    world = World()
    world.create(NewTopic("a"), NewTopic("b"), NewTopic("c"))
    ids = {name: topic.topic_id for name, topic in world.image.topics.items()}
    assert delete(
        world,
        TopicReference("none"),
        TopicReference(topic_id=bytes(16)),
        TopicReference(),
        TopicReference("a", ids["a"]),
    ) == [3, 100, 42, 42]
    assert delete(world, TopicReference("b"), TopicReference("b")) == [42, 42]
    twice = TopicReference(topic_id=ids["b"])
    assert delete(world, twice, twice) == [42, 42]
    assert delete(world, TopicReference("c"), TopicReference(topic_id=ids["c"])) == [42, 0]
    assert set(world.image.topics) == {"a", "b"}


def test_deletion_can_be_switched_off() -> None:
    world = World(static={"delete.topic.enable": "false"})
    world.create(NewTopic("a"))
    assert delete(world, TopicReference("a"), TopicReference("none")) == [73, 73]
    assert "a" in world.image.topics


# --- more partitions ---------------------------------------------------------------------------


def grow(world: World, *items: MorePartitions, validate_only: bool = False) -> list[int]:
    answer = world.ask(CreatePartitions(items, validate_only))
    assert isinstance(answer, CreatePartitionsAnswer)
    return [result.error_code for result in answer.topics]


def test_more_partitions_even_out_the_topic() -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", assignments=assigned((1,), (1,))), NewTopic("u", 1))
    topic_id = world.image.topics["t"].topic_id
    assert grow(world, MorePartitions("t", 4)) == [0]
    assert world.records == [
        PartitionRecord(topic_id, 2, (2,), (2,), 2, 0, 0),
        PartitionRecord(topic_id, 3, (2,), (2,), 2, 0, 0),
    ]
    assert grow(world, MorePartitions("t", 6, ((1,), (2,)))) == [0]
    leaders = Counter(p.leader for p in world.image.topics["t"].partitions)
    assert leaders == {1: 3, 2: 3}


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (MorePartitions("none", 2), 3),
        (MorePartitions("t", 2), 37),
        (MorePartitions("t", 1), 37),
        (MorePartitions("t", -1), 37),
        (MorePartitions("t", 4, ((1,),)), 39),
        (MorePartitions("t", 3, ((9,),)), 39),
        (MorePartitions("t", 3, ((),)), 39),
        (MorePartitions("t", 3, ((1, 2),)), 39),
        (MorePartitions("t", PARTITIONS_PER_REQUEST_MAX + 3), 44),
    ],
)
def test_growth_refusals(item: MorePartitions, code: int) -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", 2))
    assert grow(world, item) == [code]
    assert world.records == []


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (MorePartitions("t", 2), "Topic already has 2 partition(s)."),
        (
            MorePartitions("t", 1),
            "The topic t currently has 2 partition(s); 1 would not be an increase.",
        ),
        (
            MorePartitions("t", 4, ((1,),)),
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
    ],
)
def test_sentences_about_growth(item: MorePartitions, sentence: str) -> None:
    world = World(nodes=2)
    world.create(NewTopic("t", 2))
    answer = world.ask(CreatePartitions((item,), False))
    assert isinstance(answer, CreatePartitionsAnswer)
    assert answer.topics[0].error_message == sentence


def test_growth_twice_or_only_validated() -> None:
    world = World()
    world.create(NewTopic("t", 1), NewTopic("u", 1))
    item = MorePartitions("t", 2)
    assert grow(world, item, item, MorePartitions("u", 2)) == [42, 42, 0]
    assert grow(world, item, validate_only=True) == [0]
    assert len(world.image.topics["t"].partitions) == 1


def wide(nodes: int, static: dict[str, str] | None = None) -> World:
    return World(nodes, static, replication_factor_max=3)


def test_replicas_that_are_away_are_not_in_sync_at_the_beginning() -> None:
    world = wide(4)
    world.apply(node(1, fenced=True))
    world.apply(msgspec.structs.replace(node(2), down=True))
    world.apply(msgspec.structs.replace(node(3), shutting_down=True))
    world.create(NewTopic("t", assignments=assigned((1, 2, 4), (2, 3, 4), (4, 3, 2), (2, 1, 3))))
    found = [(p.isr, p.leader, p.leader_epoch) for p in world.image.topics["t"].partitions]
    # The last one waits for a node that is about to return.
    assert found == [((4,), 4, 0), ((4,), 4, 0), ((4,), 4, 0), ((2,), 2, 0)]


def test_a_topic_is_made_while_a_node_is_away() -> None:
    world = wide(3)
    world.apply(node(2, fenced=True))
    assert world.create(NewTopic("t", 4, 3), NewTopic("u", 4, 2)) == [0, 0]
    for partition in world.image.topics["t"].partitions:
        assert set(partition.replicas) == {1, 2, 3}
        assert partition.replicas[2] == 2 and set(partition.isr) == {1, 3}
    for partition in world.image.topics["u"].partitions:
        assert set(partition.replicas) == {1, 3} == set(partition.isr)


def test_at_least_one_node_of_an_assignment_has_to_be_there() -> None:
    world = wide(3)
    for node_id in (1, 2):
        world.apply(node(node_id, fenced=True))
    assert world.create(NewTopic("t", assignments=assigned((1, 2)))) == [39]
    assert world.create(NewTopic("t", assignments=assigned((1, 3)))) == [0]


def test_the_largest_replication_factor() -> None:
    world = wide(4)
    answer = world.ask(CreateTopics((NewTopic("t", 1, 4), NewTopic("u", 1, 3))))
    assert isinstance(answer, CreateTopicsAnswer)
    assert [topic.error_code for topic in answer.topics] == [38, 0]
    assert answer.topics[0].error_message == "replication factor 4 is not supported, at most 3"
    assert world.create(NewTopic("v", assignments=assigned((1, 2, 3, 4)))) == [39]


def test_internal_topics_have_as_many_replicas_as_there_are_nodes() -> None:
    topics = ("offsets.topic", "transaction.state.log")
    static = {f"{topic}.replication.factor": "3" for topic in topics}
    for nodes, factor in ((1, 1), (2, 2), (3, 3), (5, 3)):
        world = wide(nodes, static)
        names = (NewTopic(GROUP_METADATA_TOPIC), NewTopic(TRANSACTION_STATE_TOPIC))
        world.ask(CreateTopics(names, automatic=True))
        for topic in world.image.topics.values():
            assert {len(partition.replicas) for partition in topic.partitions} == {factor}


def test_added_partitions_have_as_many_replicas() -> None:
    world = wide(3)
    world.create(NewTopic("t", 1, 3))
    more = (MorePartitions("t", 3), MorePartitions("t", 4, ((1, 2),)))
    answer = world.ask(CreatePartitions(more[:1]))
    assert answer == CreatePartitionsAnswer((NamedResult("t", 0),))
    assert {len(p.replicas) for p in world.image.topics["t"].partitions} == {3}
    answer = world.ask(CreatePartitions(more[1:]))
    assert isinstance(answer, CreatePartitionsAnswer)
    assert answer.topics[0].error_code == 39
