"""DeleteRecords: the new log start, and the error table."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import CreateTopics, NewTopic
from tidelog.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from tidelog.types import GROUP_METADATA_TOPIC


def ask(topic: str, *items: tuple[int, int]) -> DeleteRecordsRequest:
    partitions = [DeleteRecordsPartition(partition_index=i, offset=offset) for i, offset in items]
    return DeleteRecordsRequest(
        topics=[DeleteRecordsTopic(name=topic, partitions=partitions)], timeout_ms=1000
    )


async def world() -> Node:
    node = Node(nodes=2)
    compacted = NewTopic("c", 2, 1, configs=(("cleanup.policy", "compact"),))
    both = NewTopic("b", 2, 1, configs=(("cleanup.policy", "compact,delete"),))
    await node.create(NewTopic("t", 4, 1), compacted, both)
    node.controller.ask(CreateTopics((NewTopic(GROUP_METADATA_TOPIC),), automatic=True))
    await node.follow()
    for log in node.logs.logs():
        node.set_offsets(log.topic, log.index, 10, 20)
    return node


@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize(
    ("offset", "low_watermark", "code"),
    [(15, 15, 0), (-1, 20, 0), (20, 20, 0), (5, 10, 0), (0, 10, 0), (21, -1, 1), (-2, -1, 1)],
)
async def test_offsets(version: int, offset: int, low_watermark: int, code: int) -> None:
    node = await world()
    answer = await node.ask(ask("t", (0, offset)), version)
    (result,) = answer.topics[0].partitions
    assert (result.low_watermark, result.error_code) == (low_watermark, code)
    assert node.log("t").core.log_start_offset == (low_watermark if code == 0 else 10)


async def test_refusals() -> None:
    node = await world()
    node.log("t", 2).fails = True
    answer = await node.ask(ask("t", (0, 12), (1, 12), (2, 12), (9, 12)), 2)
    assert [p.error_code for p in answer.topics[0].partitions] == [0, 6, 56, 3]
    request = ask("none", (0, 1))
    for topic in ("c", "b", GROUP_METADATA_TOPIC):
        led = next(p.index for p in node.image.topics[topic].partitions if p.leader == 1)
        request.topics += ask(topic, (led, 12)).topics
    answer = await node.ask(request, 2)
    codes = {t.name: t.partitions[0].error_code for t in answer.topics}
    assert codes == {"none": 3, "c": 44, "b": 0, GROUP_METADATA_TOPIC: 17}
