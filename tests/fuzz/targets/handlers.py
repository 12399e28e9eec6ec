"""Fuzz target: whole requests to a node: decoder, handler, controller, answer.

Input: requests parted by four bytes (SEPARATOR); each begins with one byte for API and version
(CHOICES), then its body. They are sent one after the other to a node with the real dispatcher,
controller, partition table and coordinators; logs are fakes, but for those of the coordinators.

Must hold: bytes that are no request close the connection (PeerError); all others are answered, the
answer is one of that API, version and request; nothing that a peer can send makes a handler or the
controller fail in a way that nobody foresaw (an exception in the controller ends the broker).
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.fuzz.lanes.lane_model import MEMORY, TimelessLoop, lane_frame
from tests.oracle.protocol.entropy import Entropy
from tests.oracle.protocol.messages import BUILDER
from tests.unit.coordinator.test_group_service import GroupReplicas, image_with, join
from tests.unit.coordinator.test_txn_service import World as TransactionWorld
from tests.unit.handlers.worlds import Node
from tidelog.config import BrokerConfig
from tidelog.controller.requests import NewTopic
from tidelog.coordinator.group_service import GroupService
from tidelog.errors import MalformedMessageError, PeerError
from tidelog.handlers import dispatch
from tidelog.handlers.registry import HANDLERS
from tidelog.protocol.codec import decode_prefix, decode_response, encode, request_class
from tidelog.protocol.messages.alter_configs import (
    AlterableConfig,
    AlterConfigsRequest,
    AlterConfigsResource,
)
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig as IncrementalConfig,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterConfigsResource as IncrementalResource,
)
from tidelog.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from tidelog.protocol.messages.leave_group import LeaveGroupRequest
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tidelog.protocol.schema import Request

MAX_INPUT_BYTES = 6000
SEPARATOR = b"\xfe\xed\xfe\xed"
REQUESTS_MAX = 4
#: Turns of the loop, a second each, that an answer may take.
TURNS = 1000
_CONFIG = BrokerConfig.resolve()
CHOICES = [
    (handler.api.key, version)
    for handler in HANDLERS
    if handler.handle is not None
    for version in range(handler.api.key.versions.low, handler.api.key.versions.high + 1)
    if handler.api.has(version)
]


def run(data: bytes) -> None:
    """One input."""
    loop = TimelessLoop()
    try:
        with mock.patch.object(dispatch, "_log_failure", _fail):
            loop.run_until_complete(_requests(data.split(SEPARATOR)[:REQUESTS_MAX]))
    finally:
        loop.close()


def _fail(context: Any, error: BaseException) -> None:
    raise AssertionError(f"{context.api_key.name} failed: {error!r}") from error


async def _requests(parts: list[bytes]) -> list[Any]:
    """The answers."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        node = Node()
        replicas = GroupReplicas(folder)
        image = image_with("__consumer_offsets", "t")
        (folder / "transactions").mkdir()
        transactions = TransactionWorld(folder / "transactions")
        node.services = dataclasses.replace(
            node.services,
            transactions=transactions.service,
            groups=GroupService(
                replicas,  # type: ignore[arg-type]
                node.clock,
                random.Random(1),
                image=lambda: image,
                config=lambda: _CONFIG,
            ),
        )
        node.dispatcher = dispatch.Dispatcher(node.services, HANDLERS)
        await replicas.lead_offsets()
        await transactions.lead_state()
        await node.create(NewTopic("t", 2))
        answers = [await _request(node, part) for part in parts if part]
        await node.services.groups.close()  # type: ignore[attr-defined]
        await transactions.service.close()
        return answers
    finally:
        shutil.rmtree(folder)


async def _request(node: Node, part: bytes) -> Any:
    """The answer; None when there was none."""
    key, version = CHOICES[part[0] % len(CHOICES)]
    frame = lane_frame(key, version, part[1:])[4:]
    try:
        decode_prefix(request_class(key), version, part[1:])
        readable = True
    except MalformedMessageError:
        readable = False
    try:
        answer = node.dispatcher.dispatch(frame, node.connection)
        if not isinstance(answer, bytes):
            waiting = asyncio.ensure_future(answer)
            for _ in range(TURNS):
                if waiting.done():
                    break
                node.clock.advance(1000)
                await asyncio.sleep(0)
            else:
                waiting.cancel()  # a member waits for others
                return None
            answer = waiting.result()
    except PeerError:
        assert not readable
        return None
    assert readable
    assert int.from_bytes(answer[:4], "big") == len(answer) - 4
    correlation_id, message = decode_response(key, version, answer[4:])
    assert correlation_id == 77
    return message


def seeds() -> Iterator[tuple[str, bytes]]:
    """Each API in its first and last version, and requests that change something."""
    served: dict[Any, list[int]] = defaultdict(list)
    for key, version in CHOICES:
        served[key].append(version)
    for key, versions in served.items():
        for version in {versions[0], versions[-1]}:
            rng = random.Random(f"{key.name} {version}")
            message = BUILDER.build(request_class(key), version, Entropy(rng.randbytes(200)))
            yield f"{key.name.lower()}-{version}", as_input(message, version)
    for version in (0, 3, 5, 9):
        yield f"join-group-g-{version}", as_input(join(), version)
    yield "life-of-a-member", SEPARATOR.join(_life_of_a_member())
    made = as_input(_create_topics(), 7)
    grown = CreatePartitionsRequest(topics=[CreatePartitionsTopic(name="u", count=5)])
    yield "create-topics", made
    yield "create-and-grow", SEPARATOR.join([made, as_input(grown, 3)])
    for kind, name, config in (
        (2, "t", "retention.ms"),
        (4, "1", "log.retention.ms"),
        (4, "", "log.retention.hours"),
        (32, "g", "consumer.session.timeout.ms"),
        (16, "m", "interval.ms"),
    ):
        for value in ("1000", "\x1f5", "9" * 5000):
            label = f"{kind}-{config}-{value[:4].strip()}"
            yield f"alter-{label}", as_input(_alter(kind, name, config, value), 2)
            yield f"set-{label}", as_input(_incremental(kind, name, config, value), 1)
    yield "alter-a-node-of-many-digits", as_input(_incremental(4, "9" * 5000, "a", "b"), 1)


def as_input(request: Request, version: int) -> bytes:
    """The input that has this request sent."""
    return bytes([CHOICES.index((request.API, version))]) + encode(request, version)


def _life_of_a_member() -> Iterator[bytes]:
    """Joins, gets an assignment, commits, leaves: the id that it gets is always the same."""
    first = as_input(join(), 0)
    loop = TimelessLoop()
    (joined,) = loop.run_until_complete(_requests([first]))
    loop.close()
    member = {"group_id": "g", "member_id": joined.member_id}
    position = OffsetCommitRequestPartition(partition_index=0, committed_offset=9)
    topics = [OffsetCommitRequestTopic(name="t", partitions=[position])]
    assignment = SyncGroupRequestAssignment(member_id=joined.member_id, assignment=b"all")
    yield first
    yield as_input(SyncGroupRequest(**member, generation_id=1, assignments=[assignment]), 2)
    yield as_input(OffsetCommitRequest(**member, generation_id_or_member_epoch=1, topics=topics), 5)
    yield as_input(LeaveGroupRequest(**member), 1)


def _create_topics() -> CreateTopicsRequest:
    config = CreatableTopicConfig(name="cleanup.policy", value="compact")
    topic = CreatableTopic(name="u", num_partitions=2, replication_factor=1, configs=[config])
    return CreateTopicsRequest(topics=[topic], timeout_ms=1000)


def _alter(kind: int, name: str, config: str, value: str) -> AlterConfigsRequest:
    changed = [AlterableConfig(name=config, value=value)]
    resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=changed)
    return AlterConfigsRequest(resources=[resource])


def _incremental(kind: int, name: str, config: str, value: str) -> IncrementalAlterConfigsRequest:
    changed = [IncrementalConfig(name=config, config_operation=0, value=value)]
    resource = IncrementalResource(resource_type=kind, resource_name=name, configs=changed)
    return IncrementalAlterConfigsRequest(resources=[resource])
