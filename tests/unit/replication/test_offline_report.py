"""Tests of what the controller is told of offline replicas: all of it, until it has heard it."""

from __future__ import annotations

import asyncio

import pytest

from tidelog.replication import offline_report
from tidelog.replication.offline_report import OfflineReport

ID = bytes(range(16))


class Node:
    def __init__(self) -> None:
        self.offline: set[tuple[bytes, int]] = set()
        self.answers = [True] * 9
        self.told: list[tuple[tuple[bytes, int], ...]] = []
        self.more: set[tuple[bytes, int]] = set()
        self.report = OfflineReport(lambda: self.offline, self._report)

    async def _report(self, partitions: tuple[tuple[bytes, int], ...]) -> bool:
        self.told.append(partitions)
        await asyncio.sleep(0)
        self.offline |= self.more
        return self.answers.pop(0)


async def test_everything_is_said_once() -> None:
    node = Node()
    node.offline = {(ID, 3), (ID, 1)}
    node.report.changed("/disk")
    await node.report.wait(10_000)
    assert node.told == [((ID, 1), (ID, 3))]
    node.report.changed()
    await node.report.wait(10_000)
    assert node.told == [((ID, 1), (ID, 3))] * 2


async def test_nothing_is_something_to_say() -> None:
    node = Node()
    node.report.changed()
    await node.report.wait(10_000)
    assert node.told == [()]


async def test_what_fails_meanwhile_is_said_then() -> None:
    node = Node()
    node.offline, node.more = {(ID, 1)}, {(ID, 2)}
    node.report.changed()
    await node.report.wait(10_000)
    assert node.told == [((ID, 1),), ((ID, 1), (ID, 2))]


async def test_it_asks_again_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_report, "OFFLINE_REPORT_RETRY_MS", 0)
    node = Node()
    node.answers = [False, False, True]
    node.offline = {(ID, 1)}
    node.report.changed()
    await node.report.wait(10_000)
    assert node.told == [((ID, 1),)] * 3


async def test_an_end_ends_it() -> None:
    node = Node()
    node.answers = [False]
    node.report.changed()
    await node.report.wait(1)
    await node.report.close()
    assert node.told == [()]
    await Node().report.close()
