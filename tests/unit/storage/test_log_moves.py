"""Tests of moves side by side; what one of them does is in test_log_move."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.storage.log_fixtures import until
from tests.unit.storage.test_log_directories import ID, Disks
from tests.unit.storage.test_log_move import SMALL
from tidelog.storage.log_directories import LogDirectories


async def test_so_many_at_a_time(tmp_path: Path) -> None:
    disks = Disks(tmp_path, "ab")
    for name in disks.names:
        os.makedirs(disks.path(name))
    logs: LogDirectories = await disks.start()
    held = []
    for index in range(5):
        logs.wish("t", index, disks.path("a"))
        log = await logs.create("t", ID, index, SMALL)
        await log.roll(force=True)
        held.append(log)
    disks.files["b"].held.add("sync_directory")
    for log in held:
        logs.move(log, disks.path("b"))
    await until(lambda: len(disks.folders("b")) == 2)
    assert len(logs.views()[1].moves) == 5
    disks.files["b"].held.clear()
    disks.files["b"].let_go.release(9)
    await until(lambda: disks.folders("b") == [f"t-{index}" for index in range(5)])
    await until(lambda: not logs.views()[1].moves)
    await disks.close()
