"""DescribeLogDirs: the node's directories, all of them or what was asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
)
from tidelog.storage.log_directories import DirectoryView


@pytest.mark.parametrize("version", range(1, 6))
async def test_everything(version: int, tmp_path: Path) -> None:
    node = Node(nodes=1, directory=tmp_path)
    await node.create(NewTopic("b", 1, 1), NewTopic("a", 2, 1))
    answer = await node.ask(DescribeLogDirsRequest(topics=None), version)
    (result,) = answer.results
    assert (answer.error_code, result.error_code, result.log_dir) == (0, 0, str(tmp_path))
    partitions = [(t.name, p.partition_index) for t in result.topics for p in t.partitions]
    assert partitions == [("a", 0), ("a", 1), ("b", 0)]
    assert all(
        (p.partition_size, p.offset_lag, p.is_future_key) == (0, 0, False)
        for t in result.topics
        for p in t.partitions
    )
    if version >= 4:
        assert 0 < result.usable_bytes < result.total_bytes
    else:
        assert (result.usable_bytes, result.total_bytes) == (-1, -1)
    assert not result.is_cordoned


async def test_only_what_is_asked_for_and_here(tmp_path: Path) -> None:
    node = Node(nodes=2, directory=tmp_path)
    await node.create(NewTopic("t", 2, 1))
    topics = [
        DescribableLogDirTopic(topic="t", partitions=[0, 0, 1, 9]),
        DescribableLogDirTopic(topic="none", partitions=[0]),
    ]
    answer = await node.ask(DescribeLogDirsRequest(topics=topics), 4)
    found = [(t.name, p.partition_index) for t in answer.results[0].topics for p in t.partitions]
    assert found == [("t", 0)]
    answer = await node.ask(DescribeLogDirsRequest(topics=[]), 4)
    assert [result.topics for result in answer.results] == [[]]


async def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    node = Node(directory=tmp_path / "gone")
    answer = await node.ask(DescribeLogDirsRequest(topics=None), 4)
    assert [result.error_code for result in answer.results] == [56]


async def test_several_directories(tmp_path: Path) -> None:
    node = Node(nodes=1, directory=tmp_path)
    await node.create(NewTopic("t", 2, 1))
    here, there = node.log("t", 0), node.log("t", 1)
    move = SimpleNamespace(log=here, size_bytes=70, lag=3)
    views = [
        DirectoryView("/a", None, [here], []),  # type: ignore[list-item]
        DirectoryView("/b", OSError(5, "bad disk"), [there], []),  # type: ignore[list-item]
        DirectoryView(str(tmp_path), None, [], [move]),  # type: ignore[list-item]
    ]
    node.logs.views = lambda: views  # type: ignore[method-assign]
    first, failed, target = (await node.ask(DescribeLogDirsRequest(topics=None), 4)).results
    assert [(r.log_dir, r.error_code) for r in (first, failed, target)] == [
        ("/a", 56),  # (there is no such volume)
        ("/b", 56),
        (str(tmp_path), 0),
    ]
    assert [p.is_future_key for p in first.topics[0].partitions] == [False]
    assert failed.topics == []
    (copy,) = target.topics[0].partitions
    assert (copy.partition_index, copy.partition_size, copy.offset_lag) == (0, 70, 3)
    assert copy.is_future_key
    other = [DescribableLogDirTopic(topic="t", partitions=[1])]
    answer = await node.ask(DescribeLogDirsRequest(topics=other), 4)
    assert [result.topics for result in answer.results] == [[], [], []]
