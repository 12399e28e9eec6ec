"""What a new store holds, decided from logs alone: each case that a lost store can leave behind."""

from __future__ import annotations

import random

from tidelog.config import BrokerConfig, ResourceType
from tidelog.controller.rebuild import (
    KEEP_EVERYTHING,
    FoundLog,
    RebuiltMetadata,
    rebuild_metadata,
)
from tidelog.limits import (
    PARTITIONS_PER_REQUEST_MAX,
    PRODUCER_ID_BLOCK_SIZE,
    REBUILT_LEADER_EPOCH_STEP,
)
from tidelog.metadata.image import MetadataImage, TopicImage
from tidelog.metadata.records import (
    ClusterRecord,
    ConfigRecord,
    FeatureRecord,
    MoveRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaRecord,
    TopicRecord,
)
from tidelog.storage.partition_metadata import format_topic_id
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC

CLUSTER = "a" * 22
NOW_MS = 1_800_000_000_000
A, B, C, D = (bytes([i]) * 16 for i in (1, 2, 3, 4))
NODES = {1: "node-1", 2: "node-2"}


def log(
    name: str,
    topic_id: bytes | None = A,
    *,
    node: int = 1,
    made_ms: int = 1,
    epoch: int = 0,
    end: int = 10,
    producer: int = -1,
) -> FoundLog:
    topic, _, index = name.rpartition("-")
    where = f"node-{node}/{name}"
    return FoundLog(node, where, topic, int(index), topic_id, made_ms, epoch, end, producer)


def rebuilt(
    *logs: FoundLog, now_ms: int = NOW_MS, known: MetadataImage | None = None
) -> RebuiltMetadata:
    config = BrokerConfig.resolve()
    return rebuild_metadata(CLUSTER, NODES, logs, config, now_ms, random.Random(1), known)


def image(found: RebuiltMetadata) -> MetadataImage:
    """The image that a broker makes of the records."""
    return MetadataImage.from_records(found.records, 1)


def topics(found: RebuiltMetadata) -> dict[str, TopicImage]:
    return dict(image(found).topics)


def notes(found: RebuiltMetadata) -> dict[str, str]:
    assert len({note.where for note in found.notes}) == len(found.notes)
    return {note.where: note.what for note in found.notes}


def leaders(topic: TopicImage) -> list[int]:
    return [partition.leader for partition in topic.partitions]


def test_topics_and_partitions_are_where_their_logs_are() -> None:
    found = rebuilt(log("t-0", node=2), log("t-1"), log("u.v-0", B, node=2), log("t-2", node=2))
    assert found.notes == ()
    whole = image(found)
    assert whole.cluster_id == CLUSTER
    assert whole.topic_names == {A: "t", B: "u.v"}
    assert leaders(whole.topics["t"]) == [2, 1, 2]
    for partition in whole.topics["t"].partitions:
        assert partition.replicas == partition.isr == (partition.leader,)
    # Nodes as a stopped broker leaves them: known and not fenced, with their folders.
    assert {n.node_id: (n.fenced, n.directory) for n in whole.nodes.values()} == {
        1: (False, "node-1"),
        2: (False, "node-2"),
    }
    # A snapshot of the image is the same again.
    assert MetadataImage.from_records(whole.to_records(), 1) == whole


def test_no_leader_epoch_is_used_again() -> None:
    found = rebuilt(log("t-0", epoch=7), log("t-1", epoch=-1))
    epochs = [partition.leader_epoch for partition in topics(found)["t"].partitions]
    assert epochs == [7 + REBUILT_LEADER_EPOCH_STEP, -1 + REBUILT_LEADER_EPOCH_STEP]


def test_a_log_whose_epochs_are_used_up_is_left() -> None:
    found = rebuilt(log("t-0", epoch=2**31 - 1), log("u-0", B))
    assert list(topics(found)) == ["u"]
    assert "leader epoch 2147483647" in notes(found)["node-1/t-0"]


def test_nothing_is_removed_from_a_restored_topic() -> None:
    found = rebuilt(log("t-0"))
    configs = dict(image(found).config(2, "t"))
    assert configs == KEEP_EVERYTHING
    assert (configs["retention.ms"], configs["retention.bytes"]) == ("-1", "-1")
    assert configs["cleanup.policy"] == "delete"


def test_the_brokers_own_topics_get_what_they_need() -> None:
    found = rebuilt(log(f"{GROUP_METADATA_TOPIC}-0"), log(f"{TRANSACTION_STATE_TOPIC}-0", B))
    whole = image(found)
    assert whole.config(2, GROUP_METADATA_TOPIC) == {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": "104857600",
    }
    assert whole.config(2, TRANSACTION_STATE_TOPIC)["cleanup.policy"] == "compact"


def test_producer_ids_begin_above_all_that_can_have_been_given_out() -> None:
    (record,) = (r for r in rebuilt(log("t-0")).records if isinstance(r, ProducerIdsRecord))
    assert record.next_producer_id == NOW_MS * 1000
    # A clock that went back does not make an id that was seen come again.
    found = rebuilt(log("t-0", producer=5_000), log("t-1", producer=41_001), now_ms=1)
    assert image(found).next_producer_id == 42_000
    assert 42_000 % PRODUCER_ID_BLOCK_SIZE == 0
    # A number that is damage and no id uses nothing up.
    found = rebuilt(log("t-0", producer=2**63 - 1), now_ms=1)
    assert image(found).next_producer_id == PRODUCER_ID_BLOCK_SIZE


def test_a_hole_begins_empty_on_the_node_with_the_fewest() -> None:
    found = rebuilt(log("t-0", epoch=3), log("t-3", epoch=9), log("u-0", B))
    assert leaders(topics(found)["t"]) == [1, 2, 2, 1]
    (topic,) = (one for one in found.topics if one.name == "t")
    assert topic.new_partitions == (1, 2)
    assert notes(found) == {
        "t-1": "found nowhere: it begins empty on node 2",
        "t-2": "found nowhere: it begins empty on node 2",
    }
    # Clients may know any epoch up to the highest of the topic.
    assert topic.partitions[1].leader_epoch == 9 + REBUILT_LEADER_EPOCH_STEP


def test_a_number_far_behind_the_others_is_left() -> None:
    reach = PARTITIONS_PER_REQUEST_MAX
    found = rebuilt(log("t-0"), log(f"t-{reach + 1}"), log(f"t-{reach + 5}"), log("backup-2000000"))
    assert list(topics(found)) == ["t"]
    assert len(topics(found)["t"].partitions) == reach + 2
    left = {where for where, what in notes(found).items() if "not taken" in what}
    assert left == {f"node-1/t-{reach + 5}", "node-1/backup-2000000"}


def test_one_partition_in_two_folders() -> None:
    """The one that goes further: by epoch, then by end, as replicas are compared."""
    for first, second in (
        (log("t-0", epoch=2, end=5), log("t-0", node=2, epoch=1, end=9)),
        (log("t-0", epoch=1, end=9), log("t-0", node=2, epoch=1, end=5)),
        (log("t-0"), log("t-0", node=2)),
        # An id says more than any offset.
        (log("t-0", end=1), log("t-0", None, node=2, epoch=8, end=99)),
    ):
        for logs in ((first, second), (second, first)):
            found = rebuilt(*logs)
            assert leaders(topics(found)["t"]) == [1]
            assert "the same partition in node-1/t-0" in notes(found)["node-2/t-0"]


def test_two_ids_under_one_name() -> None:
    """The name belongs to the topic whose log was made last."""
    found = rebuilt(
        log("t-0", A, made_ms=100),
        log("t-1", A, made_ms=100),
        log("t-0", B, node=2, made_ms=200),
    )
    assert topics(found)["t"].topic_id == B
    assert leaders(topics(found)["t"]) == [2]
    assert set(notes(found)) == {"node-1/t-0", "node-1/t-1"}
    assert format_topic_id(A) in notes(found)["node-1/t-0"]
    # Made at the same moment (a copy): the one with more logs.
    found = rebuilt(log("t-0", A), log("t-1", A), log("t-2", B))
    assert topics(found)["t"].topic_id == A


def test_one_id_under_two_names() -> None:
    found = rebuilt(log("copy-0"), log("t-0"), log("t-1"), log("u-0", B))
    assert image(found).topic_names == {A: "t", B: "u"}
    assert "that of topic t" in notes(found)["node-1/copy-0"]


def test_a_log_without_its_id_belongs_to_the_topic_of_its_name() -> None:
    found = rebuilt(log("t-0"), log("t-1", None))
    assert topics(found)["t"].topic_id == A
    assert len(topics(found)["t"].partitions) == 2


def test_a_topic_whose_id_is_lost_gets_a_new_one() -> None:
    found = rebuilt(log("t-0", None), log("t-1", None))
    assert len(topics(found)["t"].partitions) == 2
    assert topics(found)["t"].topic_id not in (bytes(16), A)
    assert found.topics[0].new_id
    assert "new one" in notes(found)["t"]


def test_a_name_that_no_topic_may_have_is_left() -> None:
    found = rebuilt(log("with space-0"), log(f"{'x' * 250}-0", B), log("t-0", C))
    assert list(topics(found)) == ["t"]
    assert len(found.notes) == 2


def test_what_a_good_store_says_still_holds() -> None:
    known = MetadataImage.from_records(
        [
            ClusterRecord(CLUSTER),
            TopicRecord(A, "t"),
            *(PartitionRecord(A, index, (1,), (1,), 1, 50, 7) for index in range(3)),
            TopicRecord(B, "u"),
            PartitionRecord(B, 0, (1,), (1,), 1, 0, 0),
            TopicRecord(bytes([9]) * 16, "gone"),
            ConfigRecord(ResourceType.TOPIC, "t", "segment.bytes", "1000"),
            ConfigRecord(ResourceType.TOPIC, "u", "segment.bytes", "2000"),
            ConfigRecord(ResourceType.BROKER, "", "log.retention.ms", "5"),
            FeatureRecord("f", 3),
            QuotaRecord((("user", "u"),), "consumer_byte_rate", 2.0),
            ProducerIdsRecord(2**60),
            MoveRecord(A, 0, 1, 2),
        ],
        9,
    )
    # u is another topic of that name; w is a log that the store does not know.
    found = rebuilt(
        log("t-0", epoch=2), log("t-1", epoch=60), log("u-0", C), log("w-0", D), known=known
    )
    whole = image(found)
    assert whole.config(ResourceType.TOPIC, "t") == {"segment.bytes": "1000"}
    assert whole.config(ResourceType.TOPIC, "u") == KEEP_EVERYTHING
    assert whole.config(ResourceType.TOPIC, "w") == KEEP_EVERYTHING
    assert whole.config(ResourceType.BROKER, "") == {"log.retention.ms": "5"}
    assert whole.quotas == {(("user", "u"),): {"consumer_byte_rate": 2.0}}
    assert whole.moves == {}  # a log is where it was found, however far it was to go
    assert (whole.features, whole.next_producer_id) == ({"f": 3}, 2**60)
    step = REBUILT_LEADER_EPOCH_STEP
    epochs = [partition.leader_epoch for partition in whole.topics["t"].partitions]
    assert epochs == [50 + step, 60 + step, 60 + step]
    assert set(notes(found)) == {"t-2", "gone"}
    # It knows the id, too, unless a log shows that another topic has it.
    assert topics(rebuilt(log("t-0", None), known=known))["t"].topic_id == A
    found = rebuilt(log("t-0", None), log("x-0", A), known=known)
    assert image(found).topic_names[A] == "x"
    assert topics(found)["t"].topic_id != A


def test_no_logs_at_all() -> None:
    found = rebuilt()
    assert (image(found).cluster_id, topics(found)) == (CLUSTER, {})
