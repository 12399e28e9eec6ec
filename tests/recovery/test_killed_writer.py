"""A process that is killed while it appends, rolls and removes loses nothing that it answered."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.recovery import log_writer
from tests.recovery.log_writer import ID, config_of, value_of
from tidelog.clock import SystemClock
from tidelog.config import BrokerConfig
from tidelog.record.view import read_records
from tidelog.storage.manager import KnownLog, LogManager

LOGS = 6
LIVES = 5
SEED = 20_261


def live(directory: Path, sequence: int, answers: int) -> list[tuple[int, int, int]]:
    """One life of the writer; it is killed after that many answers, in the middle of its work."""
    process = subprocess.Popen(
        [sys.executable, log_writer.__file__, str(directory), str(LOGS), str(sequence)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if len(seen) == answers:
            process.send_signal(signal.SIGKILL)
            break
    rest = process.stdout.read()
    assert process.wait() == -signal.SIGKILL
    lines = b"".join(seen) + rest
    whole = lines[: lines.rfind(b"\n") + 1]  # the last line may be torn
    return [tuple(map(int, line.split())) for line in whole.splitlines()]  # type: ignore[misc]


async def contents(directory: Path) -> tuple[dict[int, dict[int, bytes]], dict[int, int]]:
    """Of every log: values by offset, and the log start."""
    with ThreadPoolExecutor(2) as executor:
        manager = LogManager(str(directory), 1, BrokerConfig.resolve(), SystemClock(), executor)
        known = [KnownLog("t", ID, i, config_of(i)) for i in range(LOGS)]
        report = await manager.start(known)
        assert report.failed == []
        # Behind the last position that a killed process left there is one append at most.
        assert all(log.report.verified_bytes < 1000 for log in manager.logs())
        values: dict[int, dict[int, bytes]] = {}
        starts = {}
        for log in manager.logs():
            found = values.setdefault(log.index, {})
            offset = starts[log.index] = log.core.log_start_offset
            while data := log.read_bytes(offset, 1 << 20):
                for record in read_records(data):
                    found[record.offset] = record.value or b""
                    offset = record.offset + 1
            assert offset == log.core.log_end_offset
        await manager.close()
    return values, starts


def test_nothing_answered_is_lost(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    directory = tmp_path / "data"
    answered: dict[tuple[int, int], int] = {}
    sequence = 0
    for number in range(LIVES):
        for index, offset, value in live(directory, sequence, rng.randrange(50, 3000)):
            assert (index, offset) not in answered, "an offset was given twice"
            answered[index, offset] = value
        sequence += 10_000
        if number % 2:
            continue  # the next life opens it by itself
        values, starts = asyncio.run(contents(directory))
        for (index, offset), value in answered.items():
            if offset >= starts[index]:
                assert values[index][offset] == value_of(index, value), (SEED, index, offset)
    assert len(answered) > 500
    assert any(start > 0 for start in starts.values()), "retention never ran"
    names = os.listdir(directory / "t-0")
    assert sum(name.endswith(".log") for name in names) > 2
