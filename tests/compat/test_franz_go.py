"""franz-go and its kadm at work: default settings, every codec, groups, the admin APIs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat import on_disk, records
from tests.compat.conftest import TARGET_IS_REFERENCE, Target
from tests.compat.programs import Client, ProgramMissing, client

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COUNT = 400
PARTITIONS = 3
# What franz-go compresses with when nothing is said.
DEFAULT_CODEC = "snappy"
pytestmark = pytest.mark.timeout(120, func_only=True)


@pytest.fixture(scope="module")
def program() -> Client:
    try:
        return client("franz-go")
    except ProgramMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("codec", ["default", *CODECS])
def test_records_through_every_way_of_reading(cluster: Target, program: Client, codec: str) -> None:
    topic = f"go-work-{codec}"
    done = program.run(
        "work",
        bootstrap=cluster.bootstrap,
        topic=topic,
        codec=codec,
        count=COUNT,
        partitions=PARTITIONS,
    )
    written = done["sync"] + done["async"]
    assert records.pairs(written) == records.wanted(COUNT)
    assert done["producer_id"] >= 0
    assert done["producer_epoch"] == 0
    used = DEFAULT_CODEC if codec == "default" else codec
    assert used in on_disk.codecs(cluster.data_dir, topic) <= {used, "none"}

    sizes = records.counts(written, PARTITIONS)
    assert all(sizes.values())
    assert done["starts"] == dict.fromkeys(sizes, 0)
    assert done["ends"] == sizes
    assert records.by_place(done["direct"]) == records.by_place(written)
    records.assert_in_order(done["direct"])
    numbers = {line["headers"]["number"]: line for line in done["direct"]}
    for number in range(COUNT):
        line = numbers[str(number)]
        assert line["timestamp"] == records.RECORD_TIME_MS + number
        assert line["no_key"] == (number == COUNT - 1)
        assert line["no_value"] == (number == COUNT - 2)
    assert [line["offset"] for line in done["middle"]] == list(range(1, sizes["0"]))

    assert len(done["first"]) == COUNT // 2
    assert records.by_place(done["first"] + done["second"]) == records.by_place(written)
    assert done["committed"] == records.next_offsets(done["first"])
    assert done["committed_last"] == sizes


@pytest.fixture(scope="module")
def answers(cluster: Target, program: Client) -> dict[str, Any]:
    """What every admin API answered; asked in one go."""
    options = {"bootstrap": cluster.bootstrap, "topic": "go-apis", "partitions": PARTITIONS}
    return program.run("apis", **options)


def test_cluster_and_topics(cluster: Target, answers: dict[str, Any]) -> None:
    nodes = [1] if TARGET_IS_REFERENCE else list(range(1, cluster.bootstrap.count(",") + 2))
    about = answers["cluster"]
    assert about["nodes"] == nodes
    assert about["controller"] in nodes
    assert len(about["id"]) == 22
    assert about["produce_versions"] == {str(node): 13 for node in nodes}

    created = answers["create"]
    # Leaders are spread as evenly as they can be.
    assert sorted(set(created.pop("leaders").values())) == nodes[:PARTITIONS]
    assert created == {
        "validated": "NONE",
        "partitions": PARTITIONS,
        "same_id": True,
        "again": "TOPIC_ALREADY_EXISTS",
        "bad_config": "INVALID_CONFIG",
        "too_many_replicas": "INVALID_REPLICATION_FACTOR",
        "listed": True,
        "bad_listed": False,
    }
    assert answers["partitions"] == {"count": PARTITIONS + 2, "fewer": "INVALID_PARTITIONS"}
    assert answers["delete"] == {
        "first": "NONE",
        "again": "UNKNOWN_TOPIC_OR_PARTITION",
        "listed": False,
    }


def test_configs(answers: dict[str, Any]) -> None:
    configs = answers["configs"]
    assert configs["before"]["retention.ms"] == "3600000 DYNAMIC_TOPIC_CONFIG"
    assert configs["before"]["segment.bytes"] == "1073741824 DEFAULT_CONFIG"
    assert configs["altered"]["retention.ms"] == "604800000 DEFAULT_CONFIG"
    assert configs["altered"]["segment.bytes"] == "2097152 DYNAMIC_TOPIC_CONFIG"
    assert configs["replaced"]["retention.ms"] == "7200000 DYNAMIC_TOPIC_CONFIG"
    assert configs["replaced"]["segment.bytes"] == "1073741824 DEFAULT_CONFIG"
    assert set(configs["broker_counts"]) == {str(node) for node in answers["cluster"]["nodes"]}
    assert all(count > 300 for count in configs["broker_counts"].values())


def test_acks_and_offsets(answers: dict[str, Any]) -> None:
    empty = {str(partition): 0 for partition in range(1, PARTITIONS + 2)}
    nothing = dict.fromkeys(empty, -1)
    assert answers["acks"] == {"0": 12, **empty}
    assert answers["offsets"] == {
        "start": {"0": 0, **empty},
        "committed": {"0": 12, **empty},
        "local": {"0": 0, **empty},
        "remote": {"0": -1, **nothing},
        "max_time": {"0": 11, **nothing},
        # Where nothing is that late, kadm asks for the end.
        "after_five": {"0": 5, **empty},
    }
    assert answers["epoch"] == {"error": "NONE", "epoch": 0, "end": 12}
    assert answers["producers"] == [{"epoch": 0, "sequence": 3, "time": records.RECORD_TIME_MS + 3}]


def test_log_dirs_groups_and_deleted_records(answers: dict[str, Any]) -> None:
    sizes = answers["log_dirs"]
    assert sorted(sizes) == [str(partition) for partition in range(PARTITIONS + 2)]
    assert sizes.pop("0") > 0
    assert not any(sizes.values())
    group = answers["group"]
    assert group.pop("coordinator") in answers["cluster"]["nodes"]
    assert group == {"error": "NONE", "offset": 7, "metadata": "by hand"}
    assert answers["delete_records"] == {"low": 5, "start": 5, "beyond": "OFFSET_OUT_OF_RANGE"}
