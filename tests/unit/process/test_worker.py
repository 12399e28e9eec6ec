"""The composition: a whole node in this process, asked over its socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from tidelog.clock import SystemClock
from tidelog.controller.requests import AllocateProducerIdsAnswer, ControllerAnswer, RequestFailed
from tidelog.errors import KafkaError, StorageError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    ConfigRecord,
    Endpoint,
    NodeRecord,
    PartitionRecord,
    TopicRecord,
)
from tidelog.process.controller_channel import ControllerChannel
from tidelog.process.messages import Answer, Ask
from tidelog.process.worker import build_node
from tidelog.process.worker_process import MetadataHolder, NodeSetup
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
)
from tidelog.quotas.replication import NO_LIMIT

TOPIC_ID = bytes(range(16))


class Scene:
    """A setup whose controller gives the answers that stand in `answers`."""

    def __init__(self, directory: Path, static: dict[str, str] | None = None) -> None:
        self.answers: list[ControllerAnswer] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.metadata = MetadataHolder()
        self.controller = ControllerChannel(self._asked)
        self.setup = NodeSetup(
            1,
            5,
            "c" * 22,
            (directory / "node-1",),
            static or {},
            (("PLAINTEXT", self.listening),),
            self.metadata,
            self.controller,
            SystemClock(),
        )
        records: list[ChangeRecord] = [
            NodeRecord(
                1, 5, None, (Endpoint("PLAINTEXT", "", self.port),), "127.0.0.1", self.port, False
            ),
            TopicRecord(TOPIC_ID, "t"),
            PartitionRecord(TOPIC_ID, 0, (1,), (1,), 1, 0, 0),
        ]
        self.image = MetadataImage().apply(records, 3)

    def _asked(self, ask: Ask) -> None:
        answer = Answer(ask.request_id, self.answers.pop(0))  # type: ignore[arg-type]
        asyncio.get_running_loop().call_soon(self.controller.answered, answer)

    async def metadata_answer(self) -> MetadataResponse:
        request = MetadataRequest(topics=[MetadataRequestTopic(name="t")])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(encode_request_frame(request, 12, 1))
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        _, answer = decode_response(ApiKey.METADATA, 12, await reader.readexactly(size))
        writer.close()
        assert isinstance(answer, MetadataResponse)
        return answer


async def test_a_node_from_start_to_stop_and_again(tmp_path: Path) -> None:
    for life in range(2):
        scene = Scene(tmp_path)
        node = build_node(scene.setup)
        scene.metadata.image = scene.image
        await node.start(scene.image)
        assert (tmp_path / "node-1/t-0").is_dir()
        assert not (tmp_path / "node-1/.kafka_cleanshutdown").exists()
        node.serve()
        answer = await scene.metadata_answer()
        assert [(b.node_id, b.host, b.port) for b in answer.brokers] == [
            (1, "127.0.0.1", scene.port)
        ]
        assert [p.leader_id for p in answer.topics[0].partitions] == [1]
        more = scene.image.apply([PartitionRecord(TOPIC_ID, 1, (1,), (1,), 1, 0, 0)], 4)
        await node.apply(scene.image, more)
        assert (tmp_path / "node-1/t-1").is_dir()
        scene.image = more
        await node.stop(100)
        assert (tmp_path / "node-1/.kafka_cleanshutdown").read_text().count('"brokerEpoch":5')
        scene.listening.close()
        assert life in (0, 1)


async def test_rates_of_throttled_replication_change_while_it_runs(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    node = build_node(scene.setup)
    scene.metadata.image = scene.image
    await node.start(scene.image)

    def rate(side: str, value: str | None, owner: str = "1") -> ConfigRecord:
        return ConfigRecord(4, owner, f"{side}.replication.throttled.rate", value)

    async def limits(*records: ConfigRecord) -> tuple[int, int]:
        image = scene.image.apply(records, scene.image.version + 1)
        await node.apply(scene.image, image)
        scene.image = image
        return node._throttles.leader.limit, node._throttles.follower.limit

    assert await limits() == (NO_LIMIT, NO_LIMIT)
    assert await limits(rate("leader", "5"), rate("follower", "6", "")) == (5, 6)
    assert await limits(rate("follower", "7"), rate("leader", "8", "2")) == (5, 7)
    assert await limits(rate("follower", None), rate("leader", None)) == (NO_LIMIT, 6)
    await node.stop(0)
    scene.listening.close()


async def test_a_node_that_never_started_stops_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await build_node(scene.setup).stop(0)
    scene.listening.close()


async def test_a_directory_of_another_node(tmp_path: Path) -> None:
    (tmp_path / "node-1").mkdir()
    (tmp_path / "node-1/meta.properties").write_text(
        "version=1\ncluster.id=" + "c" * 22 + "\nnode.id=2\n"
    )
    scene = Scene(tmp_path)
    node = build_node(scene.setup)
    with pytest.raises(StorageError, match="node 2"):
        await node.start(scene.image)
    await node.stop(0)
    scene.listening.close()


async def test_configs_that_cannot_be_used(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"num.partitions": "many"})
    with pytest.raises(StorageError, match=r"num\.partitions"):
        build_node(scene.setup)
    scene.listening.close()


async def test_producer_ids_come_in_blocks(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    node = build_node(scene.setup)
    scene.answers = [
        AllocateProducerIdsAnswer(0, 3000, 1000),
        AllocateProducerIdsAnswer(int(ErrorCode.STALE_BROKER_EPOCH)),
        RequestFailed(int(ErrorCode.KAFKA_STORAGE_ERROR), "no space"),
    ]
    assert await node._allocate_producer_ids() == range(3000, 4000)
    for _ in range(2):
        # Clients ask again on this code only.
        with pytest.raises(KafkaError) as refused:
            await node._allocate_producer_ids()
        assert refused.value.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    await node.stop(0)
    scene.listening.close()
