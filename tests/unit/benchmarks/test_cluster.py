"""The control requests: what is sent and read, with kio on the other side."""

import datetime
import importlib
import io
import struct
from collections.abc import Callable
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

from tests.unit.native.loadgen_peer import peer
from tidelog.benchmarks.cluster import Cluster, KafkaError, Reader, TopicLayout, parse_address

NO_TIME = datetime.timedelta(0)
APIS = {
    2: ("list_offsets", "ListOffsetsRequest", 1),
    3: ("metadata", "MetadataRequest", 1),
    18: ("api_versions", "ApiVersionsRequest", 0),
    19: ("create_topics", "CreateTopicsRequest", 2),
    20: ("delete_topics", "DeleteTopicsRequest", 1),
    22: ("init_producer_id", "InitProducerIdRequest", 0),
}


def classes(api_key: int, part: str) -> Any:
    name, _, version = APIS[api_key]
    return importlib.import_module(f"kio.schema.{name}.v{version}.{part}")


class FakeKafka:
    """Reads requests with kio, hands them to `handlers`, writes what those return with kio."""

    def __init__(self, handlers: dict[int, Callable[[Any], Any]]) -> None:
        self.handlers = {18: self._api_versions, **handlers}
        self.requests: list[Any] = []
        self.address: tuple[str, int] | None = None

    def __call__(self, index: int, frame: bytes) -> bytes:
        api_key, version = struct.unpack_from(">hh", frame)
        _, cls, expected = APIS[api_key]
        assert version == expected
        (client_id,) = struct.unpack_from(">h", frame, 8)
        request, size = entity_reader(getattr(classes(api_key, "request"), cls))(
            frame, 10 + client_id
        )
        assert 10 + client_id + size == len(frame)
        self.requests.append(request)
        answer = self.handlers[api_key](request)
        buffer = io.BytesIO()
        entity_writer(type(answer))(buffer, answer)
        body = frame[4:8] + buffer.getvalue()
        return struct.pack(">i", len(body)) + body

    def _api_versions(self, request: Any) -> Any:
        m = classes(18, "response")
        keys = tuple(m.ApiVersion(api_key=k, min_version=2, max_version=10) for k in (0, 1))
        return m.ApiVersionsResponse(error_code=ErrorCode(0), api_keys=keys)


def metadata(
    partition_errors: list[int], topic_error: int = 0, address: tuple[str, int] | None = None
) -> Any:
    """Partitions led in turn by nodes 1 and 2, at host-1:9001 and host-2:9002 or at `address`."""
    m = classes(3, "response")
    places = {n: address or (f"host-{n}", 9000 + n) for n in (1, 2)}
    brokers = tuple(
        m.MetadataResponseBroker(node_id=n, host=host, port=port, rack="r")
        for n, (host, port) in places.items()
    )
    partitions = tuple(
        m.MetadataResponsePartition(
            error_code=ErrorCode(error),
            partition_index=index,
            leader_id=-1 if error else 1 + index % 2,
            replica_nodes=(1, 2),
            isr_nodes=(1,),
        )
        for index, error in enumerate(partition_errors)
    )
    topic = m.MetadataResponseTopic(
        error_code=ErrorCode(topic_error), name="t", is_internal=False, partitions=partitions
    )
    return m.MetadataResponse(brokers=brokers, controller_id=1, topics=(topic,))


def with_cluster(kafka: FakeKafka, work: Callable[[Cluster], Any]) -> Any:
    with peer(kafka) as broker:
        kafka.address = host, port = broker.address
        cluster = Cluster(f"{host}:{port}")
        try:
            return work(cluster)
        finally:
            cluster.close()


def test_versions() -> None:
    def work(cluster: Cluster) -> None:
        assert cluster.version(0, 9) == 9
        assert cluster.version(0, 12) == 10
        with pytest.raises(ValueError, match="only from version 2"):
            cluster.version(1, 1)
        with pytest.raises(ValueError, match="no API 7"):
            cluster.version(7, 1)

    with_cluster(FakeKafka({}), work)


def test_layout_waits_for_leaders() -> None:
    answers = iter([metadata([], 3), metadata([0, 5]), metadata([0, 0])])
    kafka = FakeKafka({3: lambda request: next(answers)})
    layout = with_cluster(kafka, lambda cluster: cluster.layout("t"))
    assert layout == TopicLayout("t", {0: ("host-1", 9001), 1: ("host-2", 9002)})
    assert kafka.requests[1].topics[0].name == "t"


@pytest.mark.parametrize(("error", "deadline_s"), [(29, 30.0), (5, 0.0)])
def test_layout_gives_up_on_other_errors_and_in_time(error: int, deadline_s: float) -> None:
    kafka = FakeKafka({3: lambda request: metadata([], error)})
    with pytest.raises(KafkaError) as caught:
        with_cluster(kafka, lambda cluster: cluster.layout("t", deadline_s))
    assert caught.value.error_code == error


def listed(error_code: int, offset: int, partition: int = 0) -> Any:
    m = classes(2, "response")
    answer = m.ListOffsetsPartitionResponse(
        partition_index=partition, error_code=ErrorCode(error_code), timestamp=-1, offset=offset
    )
    topic = m.ListOffsetsTopicResponse(name="t", partitions=(answer,))
    return m.ListOffsetsResponse(topics=(topic,))


def topic_answers(error: int) -> FakeKafka:
    """Answers CreateTopics and DeleteTopics with the error; leads what it has after three tries."""
    create, delete = classes(19, "response"), classes(20, "response")
    created = create.CreatableTopicResult(name="t", error_code=ErrorCode(error), error_message="m")
    creation = create.CreateTopicsResponse(throttle_time=NO_TIME, topics=(created,))
    deleted = delete.DeletableTopicResult(name="t", error_code=ErrorCode(error))
    deletion = delete.DeleteTopicsResponse(throttle_time=NO_TIME, responses=(deleted,))
    tries = iter([6, 3, 6])
    kafka = FakeKafka({})
    kafka.handlers |= {
        2: lambda request: listed(next(tries, 0), 0),
        3: lambda request: metadata([0, 0], address=kafka.address),
        19: lambda request: creation,
        20: lambda request: deletion,
    }
    return kafka


def test_topics_are_created_and_deleted() -> None:
    kafka = topic_answers(0)
    with_cluster(kafka, lambda cluster: cluster.create_topic("t", 2, {"segment.bytes": "9"}))
    wanted = kafka.requests[1].topics[0]
    assert (wanted.name, wanted.num_partitions, wanted.replication_factor) == ("t", 2, 1)
    assert [(c.name, c.value) for c in wanted.configs] == [("segment.bytes", "9")]
    # Three tries before they were led, and each asks for both.
    asked = [r for r in kafka.requests if type(r).__name__ == "ListOffsetsRequest"]
    assert [[p.partition_index for p in r.topics[0].partitions] for r in asked] == [[0, 1]] * 4
    kafka = topic_answers(0)
    with_cluster(kafka, lambda cluster: cluster.delete_topic("t"))
    assert kafka.requests[1].topic_names == ("t",)
    for work in (lambda c: c.create_topic("t"), lambda c: c.delete_topic("t")):
        with pytest.raises(KafkaError, match=r"NOT_CONTROLLER \(Kafka error code 41\)"):
            with_cluster(topic_answers(41), work)


def test_offsets_and_producer_id() -> None:
    producer = classes(22, "response")
    errors = iter([14, 0])  # loading at first

    def offset_of(request: Any) -> Any:
        part = request.topics[0].partitions[0]
        offset = {-2: 4, -1: 44}[int(part.timestamp)]
        index = int(part.partition_index)
        return listed(0 if index == 3 else 6, offset, index)

    def given_id(request: Any) -> Any:
        return producer.InitProducerIdResponse(
            throttle_time=NO_TIME,
            error_code=ErrorCode(next(errors)),
            producer_id=12,
            producer_epoch=1,
        )

    def work(cluster: Cluster) -> None:
        layout = TopicLayout("t", {3: cluster.bootstrap, 4: cluster.bootstrap})
        assert cluster.offsets(layout, 3) == (4, 44)
        assert cluster.log_ends(TopicLayout("t", {3: cluster.bootstrap})) == {3: 44}
        with pytest.raises(KafkaError, match="t-4"):
            cluster.offsets(layout, 4)
        assert cluster.new_producer_id() == (12, 1)

    with_cluster(FakeKafka({2: offset_of, 22: given_id}), work)


def test_addresses() -> None:
    assert parse_address("a:1,b:2") == ("a", 1)
    assert parse_address("[::1]:9092") == ("::1", 9092)
    for wrong in ("host", "host:", ":9092", "host:x"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_address(wrong)


def test_reader_stays_within_the_answer() -> None:
    with pytest.raises(ValueError, match="beyond"):
        Reader(b"\0\x05abc").string()
    with pytest.raises(struct.error):
        Reader(b"\0").one("h")
    assert Reader(b"\xff\xff").string() is None
