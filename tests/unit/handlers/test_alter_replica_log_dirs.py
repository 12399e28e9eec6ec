"""AlterReplicaLogDirs: which replicas are moved, and what the others are answered."""

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
from tidelog.storage.log_directories import DirectoryView


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


async def test_where_a_replica_goes(tmp_path: Path) -> None:
    node = Node(nodes=2, directory=tmp_path)
    await node.create(NewTopic("t", 4, 1))
    held = {log.index: log for log in node.logs.logs()}
    mine, also = sorted(held)[:2]
    elsewhere = next(index for index in range(4) if index not in held)
    also_log = held[also]
    also_log.offline = True
    moves: list[tuple[int, str]] = []
    wishes: list[tuple[str, int, str]] = []
    views = [
        DirectoryView("/a", None, [*held.values()], []),  # type: ignore[list-item]
        DirectoryView("/b", None, [], []),
        DirectoryView("/c", OSError(5, "bad disk"), [], []),
    ]
    node.logs.views = lambda: views  # type: ignore[method-assign]
    node.logs.move = lambda log, path: moves.append((log.index, path))  # type: ignore[method-assign]
    node.logs.wish = lambda *wish: wishes.append(wish) or True  # type: ignore[func-returns-value, method-assign]
    request = AlterReplicaLogDirsRequest(
        dirs=[
            into("/b", "t", mine, also, elsewhere, 9),
            into("/c", "u", 0),
        ]
    )
    answer = await node.ask(request, 2)
    assert codes(answer) == {
        "t": [(mine, 0), (also, 56), (elsewhere, 9), (9, 3)],
        "u": [(0, 56)],
    }
    assert moves == [(mine, "/b")]
    assert wishes == [("t", elsewhere, "/b"), ("t", 9, "/b")]
