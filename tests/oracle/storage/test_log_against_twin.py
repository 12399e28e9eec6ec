"""PartitionLog against its twin: hypothesis chooses operations, crashes and lost files."""

from __future__ import annotations

import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.oracle.storage.log_driver import LogDriver, make_batch
from tests.oracle.storage.log_twin import LogTwin, TwinSegment
from tidelog._native.log import STATUS_APPENDED, STATUS_DUPLICATE
from tidelog.record.builder import Producer

CODECS = (0, 0, 0, 1, 2, 3, 4)
FRACTIONS = st.floats(0, 1)


class LogAgainstTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="tidelog-twin-")
        self.epoch = 0
        self.sequence = 0
        self.sent: list[tuple[bytes, int, int, int]] = []  # batch, base, last, sequence behind it

    @initialize(
        segment_bytes=st.sampled_from([400, 1500, 4000]),
        interval=st.sampled_from([0, 100, 600]),
        index_bytes=st.sampled_from([24, 100, 4096]),
        segment_ms=st.sampled_from([500, 1_000_000]),
        retention_ms=st.sampled_from([-1, 2000]),
        retention_bytes=st.sampled_from([-1, 3000]),
    )
    def begin(
        self,
        segment_bytes: int,
        interval: int,
        index_bytes: int,
        segment_ms: int,
        retention_ms: int,
        retention_bytes: int,
    ) -> None:
        self.driver = LogDriver(
            self.directory,
            {
                "internal.segment.bytes": str(segment_bytes),
                "index.interval.bytes": str(interval),
                "segment.index.bytes": str(index_bytes),
                "segment.ms": str(segment_ms),
                "retention.ms": str(retention_ms),
                "retention.bytes": str(retention_bytes),
                "message.timestamp.after.max.ms": str(2**62),
                "file.delete.delay.ms": "0",
            },
        )
        self.twin = LogTwin(segment_bytes, segment_ms, retention_ms, retention_bytes)
        self.log = self.driver.open()

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.shut()
        shutil.rmtree(self.directory)

    # ---- writing

    @rule(
        steps=st.lists(st.integers(-300, 300), min_size=1, max_size=4),
        size=st.integers(0, 120),
        codec=st.sampled_from(CODECS),
    )
    def append(self, steps: list[int], size: int, codec: int) -> None:
        now = self.driver.clock.wall_ms()
        batch = make_batch([now + step for step in steps], size, codec, self.epoch)
        if len(batch.data) > self.twin.segment_bytes:
            return
        self._sync_rolls(len(batch.data), batch.max_timestamp)
        status, code, base, last, *_ = self.driver.produce(batch.data, self.epoch)
        assert (status, code) == (STATUS_APPENDED, 0)
        assert base == self.twin.append(batch, now)
        assert last == self.twin.log_end - 1

    @rule(count=st.integers(1, 3), size=st.integers(0, 60))
    def append_idempotent(self, count: int, size: int) -> None:
        now = self.driver.clock.wall_ms()
        producer = Producer(9, 0, self.sequence)
        batch = make_batch([now] * count, size, 0, self.epoch, producer)
        self._sync_rolls(len(batch.data), batch.max_timestamp)
        status, code, base, last, *_ = self.driver.produce(batch.data, self.epoch)
        assert (status, code) == (STATUS_APPENDED, 0)
        assert base == self.twin.append(batch, now)
        self.sequence += count
        self.sent.append((batch.data, base, last, self.sequence))

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(0, 4))
    def send_again(self, back: int) -> None:
        """One of the last batches of the producer: an answer with the old offsets, no append."""
        index = len(self.sent) - 1 - back
        if index < 0:
            return
        data, base, last, _ = self.sent[index]
        entry = self.log.core.producers.entry(9)
        if entry is None or (9, base) not in {(9, kept[1] - kept[2]) for kept in entry.retained}:
            return  # only the last batch outlives a snapshot, none the log start
        status, code, got_base, got_last, *_ = self.driver.produce(data, self.epoch)
        assert (status, code, got_base, got_last) == (STATUS_DUPLICATE, 0, base, last)

    @rule()
    def new_leader_epoch(self) -> None:
        self.epoch += 1
        self.driver.call(self.log.assign_epoch, self.epoch)
        self.twin.assign_epoch(self.epoch, self.twin.log_end)

    def _sync_rolls(self, size: int, max_timestamp: int) -> None:
        """Full indexes roll too, which the twin does not model: it follows."""
        active = self.log.core.active_segment
        now = self.driver.clock.wall_ms()
        if (
            active is not None
            and active.size
            and (active.offset_index.full() or active.time_index.full())
        ):
            self.twin.roll(now)

    # ---- removing

    @rule(part=FRACTIONS)
    def delete_records(self, part: float) -> None:
        offset = self._offset(part)
        self.driver.run(self.log.delete_records(offset))
        self.twin.delete_records(offset)

    @rule(advance=st.integers(0, 3000))
    def retention(self, advance: int) -> None:
        self.driver.clock.advance(advance)
        now = self.driver.clock.wall_ms()
        assert self.driver.run(self.log.apply_retention(now)) == self.twin.apply_retention(now)

    @rule(part=FRACTIONS)
    def truncate(self, part: float) -> None:
        starts = [batch.base_offset for batch in self.twin.batches]
        if not starts:
            return
        offset = starts[min(int(part * len(starts)), len(starts) - 1)]
        self.driver.run(self.log.truncate_to(offset))
        self.twin.truncate_to(offset)
        self._forget_cut()

    @rule(ahead=st.integers(0, 50))
    def restart(self, ahead: int) -> None:
        offset = self.twin.log_end + ahead
        self.driver.run(self.log.truncate_fully_and_start_at(offset))
        self.twin.restart_at(offset)
        self._forget_cut()

    def _forget_cut(self) -> None:
        self.sent = [entry for entry in self.sent if entry[2] < self.twin.log_end]
        if self.sent:
            self.sequence = self.sent[-1][3]
        elif self.log.core.producers.entry(9) is None:
            self.sequence = 0

    # ---- closing and opening

    @rule()
    def flush(self) -> None:
        self.driver.run(self.log.flush())
        assert self.log.core.recovery_point == self.twin.log_end

    @rule()
    def reopen(self) -> None:
        self.driver.close()
        self._open(clean=True)

    @rule(
        lost=st.sets(st.sampled_from([".index", ".timeindex", ".snapshot", "leader-epoch"])),
        garbage=st.binary(max_size=80),
        clean=st.booleans(),
    )
    def lose_files(self, lost: set[str], garbage: bytes, clean: bool) -> None:
        """A stop, after which index, snapshot and epoch files are gone."""
        recovery_point = self.log.core.recovery_point
        self.driver.close(clean=clean)
        for name in os.listdir(self.directory):
            if any(part in name for part in lost):
                os.unlink(os.path.join(self.directory, name))
        if garbage and not clean and self.twin.segments:
            with open(self._active_path(), "ab") as file:
                file.write(garbage)
        self._open(clean=clean, recovery_point=recovery_point)
        assert self.driver.report is not None
        if not clean and self.twin.segments:
            assert self.driver.report.cut_bytes == len(garbage)

    @rule(part=FRACTIONS)
    def lose_tail(self, part: float) -> None:
        """A crash that loses some of what was written after the recovery point."""
        recovery_point = self.log.core.recovery_point
        active = self.twin.segments[-1] if self.twin.segments else None
        self.driver.close(clean=False)
        if active is not None:
            unsynced = [b for b in active.batches if b.base_offset >= recovery_point]
            least = active.size - sum(len(batch.data) for batch in unsynced)
            size = least + int(part * (active.size - least))
            os.truncate(self._active_path(), size)
            kept, total = [], 0
            for batch in active.batches:
                total += len(batch.data)
                if total <= size:
                    kept.append(batch)
            if len(kept) < len(active.batches):
                active.batches = kept
                self.twin.log_end = kept[-1].last_offset + 1 if kept else active.base_offset
                self.twin.log_start = min(self.twin.log_start, self.twin.log_end)
        self._open(recovery_point=recovery_point)
        self._forget_cut()

    def _active_path(self) -> str:
        return self._path(self.twin.segments[-1])

    def _path(self, segment: TwinSegment) -> str:
        return os.path.join(self.directory, f"{segment.base_offset:020d}.log")

    def _open(self, clean: bool = False, recovery_point: int = 0) -> None:
        self.twin.reopen()
        # A segment without a byte is not kept, but for a first one, and a last one that all before
        # was synced for: it may mark the log's end.
        first, others = self.twin.segments[:1], self.twin.segments[1:]
        self.twin.segments = first + [
            s
            for s in others
            if os.path.getsize(self._path(s))
            or (s is others[-1] and s.base_offset <= recovery_point)
        ]
        for segment in self.twin.segments:
            segment.created_ms = self.driver.clock.wall_ms()
        self.log = self.driver.open(
            clean=clean, recovery_point=recovery_point, log_start_offset=self.twin.log_start
        )
        if not self.twin.segments:
            self.twin.log_end = self.twin.log_start = self.log.core.log_start_offset

    # ---- what must hold

    def _offset(self, part: float) -> int:
        low, high = self.twin.log_start, self.twin.log_end
        return low + round(part * (high - low))

    @rule(
        part=FRACTIONS,
        upper_part=FRACTIONS,
        max_bytes=st.sampled_from([0, 1, 90, 1000, 2**31]),
        min_one=st.booleans(),
    )
    def read(self, part: float, upper_part: float, max_bytes: int, min_one: bool) -> None:
        offset, upper = self._offset(part), self._offset(upper_part)
        core = self.log.core
        code, segment, position, size, _ = core.read_region(offset, max_bytes, upper, min_one)
        data = segment.read_at(position, size) if segment is not None else b""
        assert (code, data) == self.twin.read(offset, max_bytes, upper, min_one)
        assert core.bytes_available(offset, upper) == self.twin.available(offset, upper)

    @rule(distance=st.integers(-50, 4000))
    def find_by_time(self, distance: int) -> None:
        target = self.driver.clock.wall_ms() - distance
        assert self.log.offset_for_timestamp(target) == self.twin.offset_for_timestamp(target)
        assert self.log.max_timestamp_offset() == self.twin.max_timestamp()

    @rule()
    def out_of_range(self) -> None:
        core = self.log.core
        assert core.read_region(core.log_end_offset + 1, 100, 2**62)[0] == 1
        if core.log_start_offset:
            assert core.read_region(core.log_start_offset - 1, 100, 2**62)[0] == 1

    @invariant()
    def same_offsets_and_bytes(self) -> None:
        if not hasattr(self, "log"):
            return
        core = self.log.core
        assert core.log_start_offset == self.twin.log_start
        assert core.log_end_offset == self.twin.log_end
        assert [segment.base_offset for segment in core.segment_list] == [
            segment.base_offset for segment in self.twin.segments
        ]
        assert [segment.size for segment in core.segment_list] == [
            segment.size for segment in self.twin.segments
        ]
        assert core.producers.map_end_offset == self.twin.log_end
        offset = self.twin.log_start
        while offset < self.twin.log_end:
            data = self.log.read_bytes(offset, 2**31)
            expected = self.twin.read(offset, 2**31, self.twin.log_end, True)[1]
            assert data == expected
            offset = self._behind(offset)

    def _behind(self, offset: int) -> int:
        for segment in self.twin.segments:
            if segment.batches and segment.batches[-1].last_offset >= offset:
                return segment.batches[-1].last_offset + 1
        return self.twin.log_end

    @invariant()
    def same_epochs(self) -> None:
        if hasattr(self, "log"):
            for epoch in range(-1, self.epoch + 2):
                found = self.log.end_offset_for_epoch(epoch)
                assert found == self.twin.end_offset_for_epoch(epoch), epoch

    @invariant()
    def indexes_point_at_batches(self) -> None:
        if not hasattr(self, "log"):
            return
        for segment, twin in zip(self.log.core.segment_list, self.twin.segments, strict=True):
            starts, position, newest = {}, 0, -1
            for batch in twin.batches:
                newest = max(newest, batch.max_timestamp)
                starts[position] = batch.last_offset
                position += len(batch.data)
            index = segment.offset_index
            for i in range(index.entries):
                offset, at = index.entry(i)
                assert starts[at] == offset
            times = segment.time_index
            by_last = {batch.last_offset: batch.max_timestamp for batch in twin.batches}
            for i in range(times.entries):
                timestamp, offset = times.entry(i)
                assert by_last[offset] == timestamp
            index.check_ascending()
            times.check_ascending()


TestLogAgainstTwin = LogAgainstTwin.TestCase
TestLogAgainstTwin.settings = settings(
    max_examples=int(os.environ.get("TIDELOG_TWIN_EXAMPLES", "40")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
