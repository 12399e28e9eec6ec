"""Small makers for the tests of segments and logs: batches, segments, a core."""

from __future__ import annotations

from pathlib import Path

from tidelog._native.log import LogCore
from tidelog._native.producer_state import ProducerStates
from tidelog._native.segment import Segment
from tidelog.record.builder import NewRecord, Producer, build_batch
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import SegmentSettings, create_segment

NOW = 1_700_000_000_000
VERSION = 9
SETTINGS = SegmentSettings(max_index_bytes=4096, index_interval_bytes=200)


def batch(
    count: int = 1,
    *,
    base_offset: int = 0,
    timestamp: int = NOW,
    size: int = 10,
    epoch: int = 0,
    producer: Producer | None = None,
    codec: int = 0,
) -> bytearray:
    records = [NewRecord(timestamp + i, None, b"x" * size) for i in range(count)]
    return build_batch(
        records,
        base_offset=base_offset,
        partition_leader_epoch=epoch,
        codec=codec,
        producer=producer or Producer(),
    )


def new_segment(
    directory: Path | str, base_offset: int = 0, settings: SegmentSettings = SETTINGS
) -> Segment:
    return create_segment(SYSTEM_FILES, str(directory), base_offset, settings, NOW)


def filled_segment(
    directory: Path | str, batches: int, *, count: int = 1, size: int = 40, base_offset: int = 0
) -> tuple[Segment, list[bytes]]:
    """A segment with equal batches, whose timestamps ascend by 10, and what was appended."""
    segment = new_segment(directory, base_offset)
    written = []
    for i in range(batches):
        first = base_offset + i * count
        data = batch(count, base_offset=first, timestamp=NOW + i * 10, size=size)
        segment.append_batch(data, first + count - 1, NOW + i * 10 + count - 1, NOW)
        written.append(bytes(data))
    return segment, written


class Owner:
    """What a core tells its owner."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.errors: list[BaseException] = []
        self.refused: list[OSError] = []
        self.aborted: list[tuple[int, int, int]] = []

    def on_epoch(self, epoch: int, start_offset: int) -> None:
        self.epochs.append((epoch, start_offset))

    def on_append_refused(self, error: OSError) -> None:
        self.refused.append(error)

    def on_disk_error(self, error: BaseException) -> None:
        self.errors.append(error)

    def on_aborted_transaction(self, producer_id: int, first: int, marker: int) -> None:
        self.aborted.append((producer_id, first, marker))


def new_core(directory: Path | str, owner: Owner | None = None, **config: object) -> LogCore:
    """A core with one empty segment."""
    core = LogCore(ProducerStates(verify_transactions=False), owner)
    core.configure(**config)  # type: ignore[arg-type]
    core.install([], log_start_offset=0, log_end_offset=0, recovery_point=0)
    core.begin_roll()
    core.install_segment(new_segment(directory))
    return core


def roll(core: LogCore, directory: Path | str, jitter_ms: int = 0) -> Segment | None:
    return core.install_segment(new_segment(directory, core.begin_roll()), jitter_ms)


def produce(core: LogCore, data: bytes | bytearray, epoch: int = 0, now: int = NOW) -> tuple:
    return core.produce(bytearray(data), epoch, VERSION, now)
