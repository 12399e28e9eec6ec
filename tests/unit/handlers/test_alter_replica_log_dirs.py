"""AlterReplicaLogDirs: a node has one directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)


def into(path: str, topic: str, *partitions: int) -> AlterReplicaLogDir:
    topics = [AlterReplicaLogDirTopic(name=topic, partitions=list(partitions))]
    return AlterReplicaLogDir(path=path, topics=topics)


def codes(answer: Any) -> dict[str, list[tuple[int, int]]]:
    return {
        topic.topic_name: [(each.partition_index, each.error_code) for each in topic.partitions]
        for topic in answer.results
    }


@pytest.mark.parametrize("version", [1, 2])
async def test_only_the_one_directory_is_there(version: int, tmp_path: Path) -> None:
    node = Node(nodes=1, directory=tmp_path)
    await node.create(NewTopic("t", 3, 1))
    here, elsewhere = str(tmp_path), str(tmp_path / "other")
    request = AlterReplicaLogDirsRequest(
        dirs=[into(here, "t", 0, 1, 9), into(elsewhere, "t", 1, 2), into(here, "none", 0)]
    )
    answer = await node.ask(request, version)
    assert codes(answer) == {"t": [(0, 0), (1, 57), (9, 3), (2, 57)], "none": [(0, 3)]}
