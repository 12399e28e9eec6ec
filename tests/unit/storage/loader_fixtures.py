"""What the tests of opening a log share: a log that is written, and opened again."""

from __future__ import annotations

import os

from tests.oracle.storage.log_driver import LogDriver, make_batch
from tests.unit.native.log_harness import NOW, SETTINGS
from tidelog.record.builder import Producer
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.loader import LoadedLog, LoadRequest, load_log
from tidelog.storage.segment_files import path_of
from tidelog.storage.written_positions import Written


def load(
    directory: str,
    *,
    clean: bool = False,
    recovery_point: int = 0,
    log_start_offset: int = 0,
    gaps_allowed: bool = False,
    recovery_point_known: bool = True,
    written: Written | None = None,
    now_ms: int = NOW,
) -> LoadedLog:
    return load_log(
        SYSTEM_FILES,
        LoadRequest(
            directory,
            SETTINGS,
            now_ms,
            log_start_offset=log_start_offset,
            recovery_point=recovery_point,
            written=written,
            clean=clean,
            gaps_allowed=gaps_allowed,
            recovery_point_known=recovery_point_known,
            verify_transactions=False,
        ),
    )


def write_log(directory: str, batches: int = 30, *, clean: bool = True) -> list[bytes]:
    """A log of several segments; ten batches each. One producer, epochs 0 and 1."""
    driver = LogDriver(
        directory,
        {
            "internal.segment.bytes": "1000",
            "index.interval.bytes": "200",
            "segment.index.bytes": "4096",
            "message.timestamp.after.max.ms": str(2**62),
        },
    )
    log = driver.open()
    written = []
    for i in range(batches):
        data = make_batch([NOW + i], 20, 0, producer=Producer(5, 0, i)).data
        assert driver.produce(data, i // 15)[0] == 0
        written.append(log.read_bytes(i, 10**6))
    driver.close(clean)
    driver.shut()
    return written


def log_path(directory: str, base: int) -> str:
    return path_of(directory, base, ".log")


def bases(directory: str) -> list[int]:
    return sorted(int(n[:20]) for n in os.listdir(directory) if n.endswith(".log"))


def content(loaded: LoadedLog) -> bytes:
    return b"".join(segment.read_at(0, segment.size) for segment in loaded.segments)


def flip(path: str, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 0xFF]))
