"""Driving the native pass of the cleaner over bytes, for tests."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tests.unit.native.log_harness import NOW
from tidelog._native import cleaner as native
from tidelog._native.cleaner import CleanerPass
from tidelog._native.log_file import LogFile
from tidelog._native.offset_map import OffsetMap
from tidelog.record.builder import NewRecord, build_batch
from tidelog.record.compression import compress, decompress
from tidelog.record.view import BatchView, iterate_batches

CHUNK = 4096


def keyed(
    base_offset: int, *values: tuple[bytes | None, bytes | None], codec: int = 0, **more: object
) -> bytes:
    """A batch of (key, value)."""
    records = [NewRecord(NOW + i, key, value) for i, (key, value) in enumerate(values)]
    return bytes(build_batch(records, base_offset=base_offset, codec=codec, **more))  # type: ignore[arg-type]


class Bench:
    """A file with batches, its keys and what a copy of it leaves."""

    def __init__(self, path: Path, *batches: bytes) -> None:
        self.data = b"".join(batches)
        path.write_bytes(self.data)
        self.file = LogFile(os.open(path, os.O_RDONLY))
        self.map = OffsetMap(1000)
        self.asked: list[tuple[int, int, bool]] = []
        self.discards = False

    def run(self, passing: CleanerPass, *, index: bool) -> tuple[int, bytes]:
        """(the step at which it ended, what came out)."""
        out = b""
        while True:
            step = passing.index(0) if index else passing.copy()
            if step == native.ASK:
                self.asked.append((passing.producer_id, passing.last_offset, passing.is_control))
                passing.decide(self.discards)
            elif step == native.OPEN:
                passing.give_payload(decompress(passing.codec, passing.payload_bytes(), 1 << 20))
            elif step == native.PACK:
                passing.pack(compress(passing.codec, passing.packing_bytes()))
            elif step == native.WRITE:
                out += passing.take_output()
            elif step != native.SLICE:
                return step, out

    def index(self, chunk_bytes: int = CHUNK) -> CleanerPass:
        passing = CleanerPass(self.map, chunk_bytes=chunk_bytes)
        passing.begin(self.file, 0, len(self.data))
        assert self.run(passing, index=True)[0] == native.END
        return passing

    def copy(
        self,
        *,
        now_ms: int = NOW,
        delete_retention_ms: int = 1000,
        end_of_round: int = -1,
        producers: Iterable[tuple[int, int, int]] = (),
        chunk_bytes: int = CHUNK,
    ) -> list[BatchView]:
        passing = CleanerPass(
            self.map,
            chunk_bytes=chunk_bytes,
            now_ms=now_ms,
            delete_retention_ms=delete_retention_ms,
            end_of_round=end_of_round,
            producers=producers,
        )
        passing.begin(self.file, 0, len(self.data))
        step, out = self.run(passing, index=False)
        assert step == native.END
        self.out, self.passing = out, passing
        return list(iterate_batches(out))

    def clean(self, **settings: int) -> list[BatchView]:
        self.index()
        return self.copy(**settings)  # type: ignore[arg-type]
