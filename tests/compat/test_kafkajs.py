"""kafkajs at work: default settings, every codec, groups, its admin client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat import on_disk, records
from tests.compat.conftest import TARGET_IS_REFERENCE, Target
from tests.compat.programs import Client, ProgramMissing, client

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
COUNT = 400
PARTITIONS = 3
pytestmark = pytest.mark.timeout(120, func_only=True)


@pytest.fixture(scope="module")
def program() -> Client:
    try:
        return client("kafkajs")
    except ProgramMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("codec", ["default", *CODECS])
def test_records_written_and_read_in_a_group(cluster: Target, program: Client, codec: str) -> None:
    topic = f"js-work-{codec}"
    done = program.run(
        "work",
        bootstrap=cluster.bootstrap,
        topic=topic,
        codec=codec,
        count=COUNT,
        partitions=PARTITIONS,
    )
    used = "none" if codec == "default" else codec
    assert on_disk.codecs(cluster.data_dir, topic) == {used}
    written = done["written"]
    answers = [answer for answers in (written["first"], *written["rest"]) for answer in answers]
    assert {answer["error"] for answer in answers} == {0}
    places = {(answer["partition"], answer["offset"]) for answer in answers}
    assert len(places) == len(answers)
    # Apache's broker may refuse what comes right after a topic was created; then kafkajs tells
    # only of its second try.
    if not TARGET_IS_REFERENCE:
        assert {(partition, 0) for partition in range(PARTITIONS)} <= places

    read = done["first"] + done["second"]
    assert len(done["first"]) == COUNT // 2
    assert sorted(records.pairs(read)) == sorted(records.wanted(COUNT))
    sizes = records.counts(read, PARTITIONS)
    assert len(records.by_place(read)) == COUNT
    for lines in (done["first"], done["second"]):
        records.assert_in_order(lines)
    assert all(sizes.values())
    assert done["starts"] == dict.fromkeys(sizes, 0)
    assert done["ends"] == sizes
    numbers = {line["headers"]["number"]: line for line in read}
    for number in range(COUNT):
        line = numbers[str(number)]
        assert line["timestamp"] == records.RECORD_TIME_MS + number
        assert line["no_key"] == (number == COUNT - 1)
        assert line["no_value"] == (number == COUNT - 2)

    # Where the first member read nothing, kafkajs says -1.
    reached = {partition: offset for partition, offset in done["committed"].items() if offset > -1}
    assert reached == records.next_offsets(done["first"])
    assert done["committed_last"] == sizes


@pytest.fixture(scope="module")
def answers(cluster: Target, program: Client) -> dict[str, Any]:
    """What every call of the admin client answered; made in one go."""
    options = {"bootstrap": cluster.bootstrap, "topic": "js-apis", "partitions": PARTITIONS}
    return program.run("apis", **options)


def test_cluster_and_topics(cluster: Target, answers: dict[str, Any]) -> None:
    nodes = [1] if TARGET_IS_REFERENCE else list(range(1, cluster.bootstrap.count(",") + 2))
    about = answers["cluster"]
    assert sorted(about["nodes"]) == nodes
    assert about["controller"] in nodes
    assert len(about["id"]) == 22
    created = dict(answers["create"])
    assert sorted(set(created.pop("leaders"))) == nodes[:PARTITIONS]
    assert created == {
        "validated": True,
        "created": True,
        "again": False,
        "bad": "INVALID_CONFIG",
        "listed": True,
        "bad_listed": False,
    }
    assert answers["partitions"] == PARTITIONS + 1
    assert answers["fewer"] == "INVALID_PARTITIONS"
    assert answers["deleted_again"] == "UNKNOWN_TOPIC_OR_PARTITION"
    assert answers["listed_after"] is False


def test_configs(answers: dict[str, Any]) -> None:
    configs = dict(answers["configs"])
    counts = configs.pop("broker_counts")
    assert set(counts) == {str(node) for node in answers["cluster"]["nodes"]}
    assert all(count > 300 for count in counts.values())
    # This client knows only the call that replaces all configs of a topic.
    assert configs == {
        "before": "3600000",
        "replaced": "604800000",
        "altered": "2097152",
        "refused": "INVALID_CONFIG",
    }


def test_acks_offsets_and_deleted_records(answers: dict[str, Any]) -> None:
    assert answers["acks"] == {
        "answers": {"-1": [0, 1, 2, 3], "1": [4, 5, 6, 7], "0": [None] * 4},
        "end": 12,
    }
    empty = {str(partition): 0 for partition in range(1, PARTITIONS + 1)}
    # Where nothing is that late, kafkajs gives the end.
    assert answers["after_five"] == {"0": 5, **empty}
    assert answers["low"] == 5
    assert answers["beyond"] == "OFFSET_OUT_OF_RANGE"
    assert answers["rest"] == [f"a{number}" for number in range(5, 12)]
    assert answers["committed"] == {"0": 12, **dict.fromkeys(empty, -1)}
