"""One cleaning of one log, as far as it runs on a helper thread: reading the keys, and copying what
stays of neighbouring segments into a new one.

It gets immutable arguments and sealed segments, and returns values; the loop puts them in place
(cleaner_swap). It makes and removes `.cleaned` files and touches no other file of the log. The work
on bytes is native and runs without the interpreter lock; compressed batches and transactions come
through here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from tidelog._native import cleaner as native
from tidelog._native.cleaner import CleanerPass
from tidelog._native.index import OffsetIndex, TimeIndex
from tidelog._native.offset_map import OffsetMap
from tidelog._native.scan import SegmentScanner
from tidelog._native.segment import Segment
from tidelog.errors import StorageError
from tidelog.record.compression import CompressionError, compress, decompress
from tidelog.record.recompress import decompressed_limit
from tidelog.record.view import BatchView, CorruptBatchError, iterate_batches
from tidelog.storage.bandwidth import Bandwidth
from tidelog.storage.cleaner_txns import CleanedTransactions
from tidelog.storage.digests import Digest
from tidelog.storage.files import Files
from tidelog.storage.segment_files import (
    CLEANED_SUFFIX,
    DIGEST_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX,
    MAX_SEGMENT_BYTES,
    SEGMENT_SUFFIXES,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
    SegmentSettings,
    path_of,
)
from tidelog.storage.txn_index import AbortedTxn, TxnIndex

#: So much of a new segment is written before it is given to the disk: one large sync at its end
#: would hold up the appends and syncs of others.
WRITE_OUT_BYTES = 4 * 1024 * 1024
CHUNK_BYTES_MIN = 64 * 1024
#: The pass comes back that seldom, and so takes the interpreter lock, unless its bandwidth is
#: limited: whoever is taken off the processor with the lock in hand holds up the event loop.
SLICE_BYTES = 4 * 1024 * 1024
WRITE_BYTES = 1024 * 1024
#: A limit on bandwidth above this is none.
UNLIMITED_BYTES_PER_SECOND = 4e9


class CleaningStopped(Exception):
    """The cleaning is to end: the log is being truncated, deleted or closed, or the node stops."""


class UncleanableError(StorageError):
    """Something in the log stands in the way of cleaning it. It is read as before."""


@dataclass(frozen=True, slots=True)
class CleaningTask:
    """What one cleaning works with. Made on the loop."""

    directory: str
    segments: tuple[Segment, ...]  # sealed, all below first_uncleanable_offset, oldest first
    aborted: tuple[AbortedTxn, ...]  # transactions, of all segments of the log
    first_dirty_offset: int
    first_uncleanable_offset: int
    map_slots: int
    map_load_factor: float
    chunk_bytes: int
    settings: SegmentSettings
    max_message_bytes: int
    delete_retention_ms: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Control:
    """How the loop slows a cleaning down and ends it."""

    stop: threading.Event
    bandwidth: Bandwidth

    def check(self) -> None:
        """Raises CleaningStopped."""
        if self.stop.is_set():
            raise CleaningStopped

    def spend(self, count: int) -> None:
        """Waits until `count` bytes of reading or writing are paid for. Raises CleaningStopped."""
        wait_ms = self.bandwidth.take(count, time.monotonic() * 1000)
        if wait_ms > 0:
            self.stop.wait(wait_ms / 1000)
        self.check()


@dataclass(slots=True)
class Cleaned:
    """A new segment that is complete and durable under its `.cleaned` names."""

    segment: Segment

    @property
    def has_txn_index(self) -> bool:
        return self.segment.txn_index is not None


@dataclass(slots=True)
class Indexed:
    """The keys of the dirty part."""

    map: OffsetMap
    end_offset: int  # everything below is in the map
    bytes_read: int
    records: int


@dataclass(slots=True)
class CopyState:
    """What goes from one group of segments to the next."""

    passing: CleanerPass
    transactions: CleanedTransactions


def read_keys(task: CleaningTask, control: Control) -> Indexed:
    """Puts the keys of the dirty part into a map, as far as they fit.

    Raises CleaningStopped, UncleanableError, OSError, MemoryError.
    """
    found = OffsetMap(task.map_slots, task.map_load_factor)
    chunk_bytes, slice_bytes, write_bytes = _sizes(task, control)
    passing = CleanerPass(
        found, chunk_bytes=chunk_bytes, slice_bytes=slice_bytes, write_bytes=write_bytes
    )
    dirty = [s for s in task.segments if s.next_offset > task.first_dirty_offset]
    reach = task.first_dirty_offset
    transactions = CleanedTransactions(t for t in task.aborted if t.last_offset >= reach)
    for segment in task.segments:
        if segment.damaged:
            # What is missing or bad must stay an error to read.
            raise UncleanableError(f"{segment.log_path} is damaged")
    for segment in dirty:
        file = segment.take_file()
        passing.begin(file, segment.base_offset, segment.size)
        read_before = passing.bytes_read
        while (step := passing.index(task.first_dirty_offset)) != native.END:
            if step == native.FULL:
                break
            if step == native.SLICE:
                control.spend(passing.bytes_read - read_before)
                read_before = passing.bytes_read
                continue
            _serve(step, passing, transactions, segment, task)
        if step == native.FULL:
            break
        control.spend(passing.bytes_read - read_before)
        found.reach_to(segment.next_offset - 1)
    end_offset = max(found.latest_offset + 1, task.first_dirty_offset)
    return Indexed(found, end_offset, passing.bytes_read, passing.records_indexed)


def _sizes(task: CleaningTask, control: Control) -> tuple[int, int, int]:
    """(chunk_bytes, slice_bytes, write_bytes) of the native pass."""
    chunk_bytes = max(task.chunk_bytes, CHUNK_BYTES_MIN)
    if control.bandwidth.bytes_per_second < UNLIMITED_BYTES_PER_SECOND:
        return chunk_bytes, chunk_bytes, chunk_bytes
    return chunk_bytes, SLICE_BYTES, WRITE_BYTES


def begin_copy(indexed: Indexed, task: CleaningTask, control: Control) -> CopyState:
    """Prepares for copy_group()."""
    chunk_bytes, slice_bytes, write_bytes = _sizes(task, control)
    passing = CleanerPass(
        indexed.map,
        chunk_bytes=chunk_bytes,
        slice_bytes=slice_bytes,
        write_bytes=write_bytes,
        now_ms=task.now_ms,
        delete_retention_ms=min(task.delete_retention_ms, 2**63 - 1 - task.now_ms),
        end_of_round=task.first_uncleanable_offset,
    )
    return CopyState(passing, CleanedTransactions(task.aborted))


def copy_group(
    files: Files,
    task: CleaningTask,
    control: Control,
    state: CopyState,
    group: Sequence[Segment],
    producers: list[tuple[int, int, int]],
) -> Cleaned:
    """Writes what stays of the segments into one new segment.

    `producers`: (id, last data offset or -1, epoch) of the active ones. Raises as read_keys(); then
    the new files are gone again, if that can be done.
    """
    control.check()
    state.passing.set_producers(producers)
    try:
        return _Copy(files, task, control, state, group).run()
    except BaseException:
        remove_cleaned(files, task.directory, group[0].base_offset)
        raise


def remove_cleaned(files: Files, directory: str, base_offset: int) -> None:
    """Removes what copy_group() made. Never raises: opening the log does the same."""
    for suffix in SEGMENT_SUFFIXES:
        try:
            files.unlink(path_of(directory, base_offset, suffix + CLEANED_SUFFIX))
        except OSError:
            return


class _Copy:
    """One new segment while it is written."""

    def __init__(
        self,
        files: Files,
        task: CleaningTask,
        control: Control,
        state: CopyState,
        group: Sequence[Segment],
    ) -> None:
        self.files = files
        self.task = task
        self.control = control
        self.passing = state.passing
        self.transactions = state.transactions
        self.group = group
        self.base_offset = group[0].base_offset
        self.fd = -1
        self.size = 0
        self.written_out = 0

    def run(self) -> Cleaned:
        self.fd = self.files.create(self._path(LOG_SUFFIX))
        try:
            for segment in self.group:
                self._copy(segment)
            self.files.sync_data(self.fd)
            self.files.set_modified(self.fd, self.group[-1].last_modified_ms)
            segment = self._make_segment()
        except BaseException:
            self.files.close(self.fd)
            raise
        segment.txn_index = self._make_txn_index()
        return Cleaned(segment)

    def _path(self, suffix: str) -> str:
        return path_of(self.task.directory, self.base_offset, suffix + CLEANED_SUFFIX)

    def _copy(self, segment: Segment) -> None:
        passing = self.passing
        passing.begin(segment.take_file(), segment.base_offset, segment.size)
        read_before = passing.bytes_read
        while (step := passing.copy()) != native.END:
            if step == native.WRITE:
                self._write(passing.take_output())
            elif step == native.SLICE:
                self.control.spend(passing.bytes_read - read_before)
                read_before = passing.bytes_read
            else:
                _serve(step, passing, self.transactions, segment, self.task)
        self.control.spend(passing.bytes_read - read_before)

    def _write(self, data: bytes) -> None:
        if self.size + len(data) > MAX_SEGMENT_BYTES:
            raise UncleanableError(f"{self._path(LOG_SUFFIX)} would become too large")
        self.files.write_at(self.fd, self.size, data)
        self.size += len(data)
        if self.size - self.written_out >= WRITE_OUT_BYTES:
            self.files.write_out(self.fd, self.written_out, self.size - self.written_out)
            self.written_out = self.size
        self.control.spend(len(data))

    def _make_txn_index(self) -> TxnIndex | None:
        kept = self.transactions.take_kept()
        if not kept:
            return None
        index = TxnIndex(self._path(TXN_INDEX_SUFFIX), self.base_offset, self.files)
        for txn in sorted(kept, key=lambda txn: txn.last_offset):
            index.append(txn)
        index.write()
        return index

    def _write_small(self, suffix: str, data: bytes) -> None:
        fd = self.files.create(self._path(suffix))
        try:
            self.files.write_at(fd, 0, data)
            self.files.sync(fd)
        finally:
            self.files.close(fd)

    def _make_segment(self) -> Segment:
        """Builds the indexes from what was written. The descriptor is the segment's in the end."""
        settings, base = self.task.settings, self.base_offset
        offset_index = OffsetIndex(self._path(INDEX_SUFFIX), base)
        time_index = TimeIndex(self._path(TIME_INDEX_SUFFIX), base)
        self._make_index(offset_index, settings.offset_index_bytes)
        self._make_index(time_index, settings.time_index_bytes)
        scanner = SegmentScanner(
            self.fd,
            base,
            self.size,
            index_interval_bytes=settings.index_interval_bytes,
            verify_from=self.size,
        )
        headers = xxhash.xxh3_128()
        scanner.run(offset_index, time_index, on_heads=headers.update)
        if scanner.io_errno:
            raise OSError(scanner.io_errno, os.strerror(scanner.io_errno), offset_index.path)
        if scanner.reason or scanner.valid_bytes != self.size:
            raise UncleanableError(f"{offset_index.path}: {scanner.reason_text}")
        time_index.add(scanner.max_timestamp, scanner.offset_of_max_timestamp, sealing=True)
        self._trim_index(offset_index)
        self._trim_index(time_index)
        # The gap at its end is meant, so it ends where the following segment begins.
        end = self.group[-1].next_offset
        digest = Digest(self.size, scanner.batches, end, headers.hexdigest())
        self._write_small(DIGEST_SUFFIX, digest.encode())
        segment = Segment(
            self.task.directory,
            base,
            self.fd,
            offset_index,
            time_index,
            size=self.size,
            next_offset=end,
            created_ms=self.task.now_ms,
            index_interval_bytes=settings.index_interval_bytes,
            sealed=True,
        )
        segment.restore(
            rolling_based_timestamp=scanner.first_timestamp,
            max_timestamp=scanner.max_timestamp,
            offset_of_max_timestamp=scanner.offset_of_max_timestamp,
            last_modified_ms=self.group[-1].last_modified_ms,
        )
        return segment

    def _make_index(self, index: OffsetIndex | TimeIndex, size: int) -> None:
        fd = self.files.create(index.path)
        try:
            self.files.truncate(fd, size)
            index.attach(fd, size, 0)
        finally:
            self.files.close(fd)

    def _trim_index(self, index: OffsetIndex | TimeIndex) -> None:
        index.trim_map()
        self.files.cut(index.path, index.size_bytes)
        self.files.sync_file(index.path)


def _serve(
    step: int,
    passing: CleanerPass,
    transactions: CleanedTransactions,
    segment: Segment,
    task: CleaningTask,
) -> None:
    """Does what a step of the native pass asks for. Raises UncleanableError, OSError."""
    if step == native.ASK:
        passing.decide(_discards(passing, transactions, segment))
    elif step == native.OPEN:
        limit = decompressed_limit(max(task.max_message_bytes, passing.batch_size))
        try:
            passing.give_payload(decompress(passing.codec, passing.payload_bytes(), limit))
        except CompressionError as error:
            raise UncleanableError(f"{segment.log_path} at {passing.position}: {error}") from error
    elif step == native.PACK:
        passing.pack(compress(passing.codec, passing.packing_bytes()))
    elif step == native.IO:
        raise OSError(passing.io_errno, os.strerror(passing.io_errno), segment.log_path)
    else:
        raise UncleanableError(f"{segment.log_path}: {passing.problem}")


def _discards(passing: CleanerPass, transactions: CleanedTransactions, segment: Segment) -> bool:
    if not passing.is_control:
        return transactions.discards_data(passing.producer_id, passing.last_offset)
    try:
        batch: BatchView = next(iterate_batches(passing.batch_bytes, check_crc=False))
        control = batch.control()
    except CorruptBatchError as error:
        raise UncleanableError(f"{segment.log_path} at {passing.position}: {error}") from error
    kind = None if control is None else control[0]
    return transactions.discards_marker(passing.producer_id, passing.last_offset, kind)
