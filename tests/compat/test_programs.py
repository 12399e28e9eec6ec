"""kcat, franz-go and kafkajs at work on one broker: every codec, placement, groups, topics."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from kafka.partitioner.default import murmur2

from tests.compat.conftest import running_target
from tests.compat.programs import CLIENTS, Client, ProgramMissing, client

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COUNT = 60
PARTITIONS = 3
# The first test that needs a program installs it; what a program does is bounded by itself.
pytestmark = pytest.mark.timeout(700)
WANTED = {(f"k{i}", f"v{i}") for i in range(COUNT)}


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The broker under test; Tidelog with two nodes, so that clients have to find leaders."""
    with running_target(tmp_path_factory.mktemp("programs"), "--workers", "2") as running:
        yield running.bootstrap


def get(name: str) -> Client:
    """The client, or a skip that names what is missing."""
    try:
        return client(name)
    except ProgramMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def topic(bootstrap: str) -> str:
    name = f"compat-{uuid.uuid4().hex[:12]}"
    get("franz-go").create(bootstrap, name, PARTITIONS)
    return name


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("producer", CLIENTS)
def test_what_one_client_writes_all_read(
    bootstrap: str, topic: str, producer: str, codec: str
) -> None:
    get(producer).produce(bootstrap, topic, COUNT, codec=codec, partitions=PARTITIONS)
    readings = {}
    for reader in CLIENTS:
        records = get(reader).consume(bootstrap, topic, COUNT, group=f"{topic}-{reader}")
        assert {(record["key"], record["value"]) for record in records} == WANTED, reader
        readings[reader] = {(r["partition"], r["offset"]): r["value"] for r in records}
        offsets: dict[int, list[int]] = {}
        for record in records:
            offsets.setdefault(record["partition"], []).append(record["offset"])
        for seen in offsets.values():
            assert seen == list(range(len(seen))), reader
    assert len({tuple(sorted(reading.items())) for reading in readings.values()}) == 1


@pytest.mark.parametrize("producer", CLIENTS)
def test_a_given_partition_is_kept(bootstrap: str, topic: str, producer: str) -> None:
    get(producer).produce(bootstrap, topic, COUNT, placement="given", partitions=PARTITIONS)
    records = get("franz-go").consume(bootstrap, topic, COUNT, group=topic)
    assert {r["key"]: r["partition"] for r in records} == {
        f"k{i}": i % PARTITIONS for i in range(COUNT)
    }


@pytest.mark.parametrize("producer", ["franz-go", "kafkajs"])
def test_keys_go_where_kafkas_hash_says(bootstrap: str, topic: str, producer: str) -> None:
    get(producer).produce(bootstrap, topic, COUNT, placement="key", partitions=PARTITIONS)
    for record in get("kcat").consume(bootstrap, topic, COUNT, group=topic):
        hashed = murmur2(record["key"].encode()) & 0x7FFFFFFF
        assert record["partition"] == hashed % PARTITIONS


def test_round_robin_spreads_evenly(bootstrap: str, topic: str) -> None:
    get("franz-go").produce(bootstrap, topic, COUNT, placement="roundrobin", partitions=PARTITIONS)
    records = get("kcat").consume(bootstrap, topic, COUNT, group=topic)
    assert set(Counter(r["partition"] for r in records).values()) == {COUNT // PARTITIONS}


@pytest.mark.parametrize("reader", ["franz-go", "kafkajs"])
def test_a_group_goes_on_where_it_stopped(bootstrap: str, topic: str, reader: str) -> None:
    member = get(reader)
    get("franz-go").produce(bootstrap, topic, COUNT, placement="given", partitions=PARTITIONS)
    first = member.consume(bootstrap, topic, COUNT, group=topic)
    get("franz-go").produce(bootstrap, topic, COUNT, placement="given", partitions=PARTITIONS)
    second = member.consume(bootstrap, topic, COUNT, group=topic)
    assert {r["offset"] for r in first} == set(range(COUNT // PARTITIONS))
    assert {r["offset"] for r in second} == set(range(COUNT // PARTITIONS, 2 * COUNT // PARTITIONS))


@pytest.mark.parametrize("admin", ["franz-go", "kafkajs"])
def test_topics_are_created_listed_and_deleted(bootstrap: str, admin: str) -> None:
    name = f"compat-{uuid.uuid4().hex[:12]}"
    program = get(admin)
    program.create(bootstrap, name, 2)
    assert name in program.topics(bootstrap)
    program.delete(bootstrap, name)
    assert name not in program.topics(bootstrap)
