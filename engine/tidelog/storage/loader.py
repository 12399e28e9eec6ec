"""Opening a log: what stands in its folder, and recovery after an unclean stop.

Runs on a helper thread, one log at a time, several logs side by side; nobody else has the log yet.
The result is a value (LoadedLog) that the loop thread installs. It never starts a write of records
and never removes records but those behind a torn tail, which the report names.

What is believed: after a clean stop everything; after any other, what lies below the recovery
point, and below the written position that a killed process left in the memory of this kernel. The
segment that holds the larger one and all later ones are read whole, every batch behind it with its
checksum: behind the first bad batch the log is cut. A bad batch below the recovery point was
synced, so it is damage and no torn write: it stays, reading it is an error, the report names it.
So is the lost end of a segment whose digest knows of more; without a digest it is only told, since
a log that was once compacted has gaps. Indexes, producer state and leader epochs that are missing
or bad are rebuilt from the log.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tidelog._native.index import CorruptIndexError
from tidelog._native.producer_state import ProducerStates
from tidelog._native.scan import SegmentScanner
from tidelog._native.segment import Segment
from tidelog.errors import StorageError
from tidelog.storage.aborted import open_index, reindex
from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.digests import decode_digest, read_digest
from tidelog.storage.files import Files
from tidelog.storage.leader_epochs import (
    LEADER_EPOCH_CHECKPOINT,
    LeaderEpochCache,
    read_leader_epochs,
    write_leader_epochs,
)
from tidelog.storage.producer_snapshot import CorruptSnapshotError, read_snapshot
from tidelog.storage.segment_files import (
    CLEANED_SUFFIX,
    DELETED_SUFFIX,
    DIGEST_SUFFIX,
    INDEX_SUFFIXES,
    LOG_SUFFIX,
    SEGMENT_SUFFIXES,
    SNAPSHOT_SUFFIX,
    SWAP_SUFFIX,
    TXN_INDEX_SUFFIX,
    Rebuilt,
    SegmentSettings,
    activate,
    mark_deleted,
    open_segment,
    parse_name,
    path_of,
    rebuild_segment,
)
from tidelog.storage.txn_index import AbortedTxn
from tidelog.storage.written_positions import Written

TEMPORARY_SUFFIX = ".tmp"


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What is known of a log before its folder is opened."""

    directory: str
    settings: SegmentSettings
    now_ms: int
    log_start_offset: int = 0  # from the log-start-offset checkpoint
    recovery_point: int = 0  # from the recovery point checkpoint
    recovery_point_known: bool = True  # there was a checkpoint
    written: Written | None = None  # by a process that was killed since this boot
    clean: bool = False  # the log directory has its clean-shutdown marker
    gaps_allowed: bool = False  # the recovery point is not known
    gaps_below: int = 0  # compacted up to here: segments need not join
    compacted: bool = False  # a gap below the recovery point is nothing to be told
    producer_id_expiration_ms: int = 86_400_000
    verify_transactions: bool = True


@dataclass(slots=True)
class LoadReport:
    """What opening a log found and did."""

    directory: str
    clean: bool
    verified_bytes: int = 0  # read with their checksums
    cut_bytes: int = 0
    cut_at_offset: int = -1  # where the log was cut; -1: it was not
    cut_reason: str = ""
    lost_synced_bytes: bool = False  # the cut went below the recovery point
    removed_segments: list[int] = field(default_factory=list)
    rebuilt_indexes: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    removed_files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def eventful(self) -> bool:
        """Whether there is something that an operator should read."""
        return bool(self.cut_bytes or self.removed_segments or self.damaged or self.notes)


@dataclass(slots=True)
class LoadedLog:
    """An opened log: the last segment takes appends; no segment: no file was made yet."""

    segments: list[Segment]
    log_start_offset: int
    log_end_offset: int
    recovery_point: int
    producers: ProducerStates
    epochs: LeaderEpochCache
    report: LoadReport
    deleted_files: list[str] = field(default_factory=list)  # marked, to be unlinked later


def load_log(files: Files, request: LoadRequest) -> LoadedLog:
    """Opens the log in `request.directory`. Raises OSError, StorageError: the log stays offline."""
    return _Loader(files, request).load()


class _Loader:
    def __init__(self, files: Files, request: LoadRequest) -> None:
        self.files = files
        self.request = request
        self.directory = request.directory
        self.report = LoadReport(request.directory, request.clean)
        self.segments: list[Segment] = []
        self.deleted: list[str] = []
        self.digests: set[int] = set()
        self.txn_indexes: set[int] = set()
        self.rebuild_txn_from = 2**63  # a transaction index of this segment could not be read
        self.scanned_epochs: list[tuple[int, int]] = []
        self.changed = False  # names in the folder changed

    def load(self) -> LoadedLog:
        bases, snapshots = self._tidy()
        empty_end = self._pass_over_empty(bases)
        self._open_segments(bases)
        if empty_end is not None:
            self._open_empty_end(empty_end)
        log_start, log_end = self._settle_offsets()
        epochs = self._load_epochs(log_start, log_end)
        self._open_txn_indexes()
        producers = self._load_producers(snapshots, log_start, log_end)
        recovery_point = (
            log_end if self.request.clean else min(self.request.recovery_point, log_end)
        )
        if self.segments:
            activate(self.files, self.segments[-1], self.request.settings)
        if self.changed:
            self.files.sync_directory(self.directory)
        return LoadedLog(
            self.segments,
            log_start,
            log_end,
            recovery_point,
            producers,
            epochs,
            self.report,
            self.deleted,
        )

    # ---- names

    def _tidy(self) -> tuple[list[int], list[int]]:
        """Ends what a crash left half done. Returns the bases of the logs and of the snapshots."""
        names = [e.name for e in self.files.list_directory(self.directory) if e.is_file]
        cleaned = [_base(name) for name in names if name.endswith(CLEANED_SUFFIX)]
        least_cleaned = min(cleaned, default=2**63)
        swaps = []
        # `.cleaned` last: they are what says that the `.swap` beside them are not all there is.
        for name in sorted(names, key=lambda name: name.endswith(CLEANED_SUFFIX)):
            if name.endswith(SWAP_SUFFIX) and _base(name) < least_cleaned:
                swaps.append(name)
            elif name.endswith((DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX, TEMPORARY_SUFFIX)):
                self._remove(name)
        if swaps:
            self._finish_swap(swaps)
        names = [e.name for e in self.files.list_directory(self.directory) if e.is_file]
        parsed = {name: found for name in names if (found := parse_name(name))}
        bases = sorted(base for base, suffix in parsed.values() if suffix == LOG_SUFFIX)
        for name, (base, suffix) in parsed.items():
            if suffix in (*INDEX_SUFFIXES, DIGEST_SUFFIX) and base not in bases:
                self._remove(name)
            elif suffix == DIGEST_SUFFIX:
                self.digests.add(base)
            elif suffix == TXN_INDEX_SUFFIX:
                self.txn_indexes.add(base)
        return bases, sorted(b for b, suffix in parsed.values() if suffix == SNAPSHOT_SUFFIX)

    def _finish_swap(self, swaps: list[str]) -> None:
        """A compaction was about to put its output in place: its segments replace the old ones."""
        low, high = 2**63, -1
        for name in swaps:
            found = parse_name(name)
            if found and found[1] == LOG_SUFFIX + SWAP_SUFFIX:
                fd = self.files.open(os.path.join(self.directory, name))
                try:
                    size = self.files.size(fd)
                    scanner = SegmentScanner(fd, found[0], size, verify_from=size).run()
                finally:
                    self.files.close(fd)
                end = max(scanner.next_offset, self._end_of_swap(name))
                low, high = min(low, found[0]), max(high, end)
        for entry in self.files.list_directory(self.directory):
            found = parse_name(entry.name)
            if found and found[1] in SEGMENT_SUFFIXES and low <= found[0] < high:
                self._remove(entry.name)
        for name in swaps:
            path = os.path.join(self.directory, name)
            self.files.rename(path, path.removesuffix(SWAP_SUFFIX))
        self.changed = True

    def _end_of_swap(self, name: str) -> int:
        """Up to where a compaction's output replaces segments. Apache Kafka's does not say."""
        path = os.path.join(self.directory, name.replace(LOG_SUFFIX, DIGEST_SUFFIX))
        try:
            return decode_digest(self.files.read(path), path).next_offset
        except (FileNotFoundError, MalformedFileError):
            return -1

    def _remove(self, name: str) -> None:
        if self.files.unlink(os.path.join(self.directory, name)):
            self.report.removed_files.append(name)
            self.changed = True

    # ---- segments

    def _pass_over_empty(self, bases: list[int]) -> int | None:
        """Takes empty segments out of `bases`, but for a first one: they say nothing of the log.

        One may be left by a roll that found no room, and the segment before may have gone on beyond
        its base since. Returns the last one if it may mark the log's end, behind a gap.
        """
        end = None
        for base in bases[1:]:
            if self.files.size_of(path_of(self.directory, base, LOG_SUFFIX)):
                continue
            if base == bases[-1] and self._may_follow_gap(base):
                end = base
            else:
                self._remove_segment(base)
            bases.remove(base)
        return end

    def _may_follow_gap(self, base: int) -> bool:
        """Whether there may be nothing before this segment without anything being lost. What was
        compacted was durable before."""
        request = self.request
        return request.gaps_allowed or base <= max(request.gaps_below, request.recovery_point)

    def _open_empty_end(self, base: int) -> None:
        last = self.segments[-1]
        if last.next_offset <= base and self.report.cut_at_offset < 0:
            self._open_believed(base, None)
        else:
            self._remove_segment(base)

    def _remove_segment(self, base: int) -> None:
        for suffix in SEGMENT_SUFFIXES:
            self._remove(os.path.basename(path_of(self.directory, base, suffix)))

    def _open_segments(self, bases: list[int]) -> None:
        for i, base in enumerate(bases):
            following = bases[i + 1] if i + 1 < len(bases) else None
            synced = following is not None and following <= self.request.recovery_point
            if self.request.clean or synced or (following is not None and self._is_written(base)):
                self._open_believed(base, following)
                if not self.request.clean and not synced:
                    # The killed process may not have come to writing its epochs down.
                    header_scanner(self.segments[-1]).run(epochs=self.scanned_epochs)
                continue
            if not self._verify(base, following):
                self._drop(bases[i + 1 :])
                return

    def _is_written(self, base: int) -> bool:
        """Whether a killed process of this boot had gone on to a later segment."""
        written = self.request.written
        return written is not None and base < written.base_offset

    def _written_bytes(self, base: int) -> int:
        written = self.request.written
        if written is None or base > written.base_offset:
            return 0
        if base < written.base_offset:
            # All of it: the process had gone on to a segment that has nothing in it yet.
            return self.files.size_of(path_of(self.directory, base, LOG_SUFFIX))
        return written.position

    def _open_believed(self, base: int, following: int | None) -> None:
        try:
            segment = open_segment(
                self.files,
                self.directory,
                base,
                self.request.settings,
                self.request.now_ms,
                next_offset=following,
            )
        except (CorruptIndexError, ValueError) as error:
            # The last segment must get a definite end; in all others nothing is taken away.
            walk_failed = isinstance(error, ValueError)
            last = following is None
            rebuilt = self._rebuild(base, verify=walk_failed, cut=last, next=following, last=last)
            self.report.rebuilt_indexes.append(str(error))
            if rebuilt.reason and following is not None:
                self.report.damaged.append(f"segment {base}: {rebuilt.reason}")
            elif rebuilt.cut_bytes:
                self._note_cut(rebuilt, lost_synced=True)
            segment = rebuilt.segment
        if following is not None:
            self._check_end(segment, following)
        self.segments.append(segment)

    def _check_end(self, segment: Segment, following: int) -> None:
        """Whether a believed segment lost whole batches at its end."""
        base = segment.base_offset
        digest = None
        if base in self.digests:
            try:
                digest = read_digest(self.directory, base, self.files)
            except MalformedFileError as error:
                self.report.notes.append(f"segment digest not used: {error}")
        if digest is not None and segment.size < digest.size:
            lost = digest.size - segment.size
            offset = _end_of(segment)
            segment.set_damaged((*(segment.damaged or ()), segment.size))
            self.report.damaged.append(
                f"segment {base}: {lost} bytes are missing at its end, from offset {offset} on"
            )
        elif not self.request.gaps_allowed and not self.request.compacted:
            end = _end_of(segment) if digest is None else digest.next_offset
            if end < following:
                self.report.notes.append(
                    f"segment {base} ends before offset {end}, and the next one begins at"
                    f" {following}: the log was compacted once, or the records are lost"
                )

    def _verify(self, base: int, following: int | None) -> bool:
        """Reads a segment that may not have been synced. False: the log ends in it."""
        # Without a checkpoint nobody knows what was synced. A bad batch with a whole segment behind
        # it is damage then, and not where the log ended.
        keep_below = 0 if self.request.recovery_point_known else following or 0
        rebuilt = self._rebuild(
            base,
            verify=True,
            cut=True,
            next=None,
            last=following is None,
            keep_below=keep_below,
        )
        segment = rebuilt.segment
        self.segments.append(segment)
        self.report.verified_bytes += max(segment.size - self._written_bytes(base), 0)
        if rebuilt.cut_bytes:
            lost = segment.next_offset < min(self.request.recovery_point, following or 2**63)
            self._note_cut(rebuilt, lost_synced=lost)
            return False
        if following is None or segment.next_offset == following:
            return True
        if segment.next_offset > following:
            raise StorageError(
                f"{self.directory}: segment {base} reaches {segment.next_offset},"
                f" behind the start of segment {following}"
            )
        if self._may_follow_gap(following):
            return True
        # The end of this file never reached the disk while the next file did.
        self.report.cut_at_offset = segment.next_offset
        self.report.cut_reason = f"nothing between {segment.next_offset} and {following}"
        self.report.lost_synced_bytes = segment.next_offset < self.request.recovery_point
        return False

    def _rebuild(
        self,
        base: int,
        *,
        verify: bool,
        cut: bool,
        next: int | None,
        last: bool,
        keep_below: int = 0,
    ) -> Rebuilt:
        rebuilt = rebuild_segment(
            self.files,
            self.directory,
            base,
            self.request.settings,
            self.request.now_ms,
            verify=verify,
            cut=cut,
            believed_bytes=self._written_bytes(base),
            keep_below=max(self.request.recovery_point, next or 0, keep_below),
            next_offset=next,
            epochs=self.scanned_epochs,
            last=last,
        )
        self.report.damaged.extend(
            f"segment {base}: not readable at offset {offset} (position {position})"
            for position, offset in rebuilt.damaged
        )
        return rebuilt

    def _note_cut(self, rebuilt: Rebuilt, *, lost_synced: bool) -> None:
        self.report.cut_bytes += rebuilt.cut_bytes
        self.report.cut_at_offset = rebuilt.segment.next_offset
        self.report.cut_reason = rebuilt.reason
        self.report.lost_synced_bytes = lost_synced

    def _drop(self, bases: list[int]) -> None:
        """Takes whole segments out of the log; their files go later."""
        if bases:
            # Newest first: a crash in between leaves a log without a hole.
            for base in reversed(bases):
                self.deleted += mark_deleted(self.files, self.directory, [base])
            self.report.removed_segments.extend(bases)
            self.changed = True

    # ---- offsets

    def _settle_offsets(self) -> tuple[int, int]:
        checkpoint = self.request.log_start_offset
        if self.segments:
            log_end = self.segments[-1].next_offset
            if log_end >= checkpoint:
                return max(checkpoint, self.segments[0].base_offset), log_end
            self.report.notes.append(
                f"the log ended at {log_end}, before its start {checkpoint}: it starts anew there"
            )
            self._drop([segment.base_offset for segment in self.segments])
            self.segments = []
        return checkpoint, checkpoint

    # ---- leader epochs

    def _load_epochs(self, log_start: int, log_end: int) -> LeaderEpochCache:
        path = os.path.join(self.directory, LEADER_EPOCH_CHECKPOINT)
        before: bytes | None = None
        try:
            cache = read_leader_epochs(path, self.files)
            before = cache.encode() if self.files.exists(path) else None
        except MalformedFileError as error:
            self.report.notes.append(f"leader epochs rebuilt: {error}")
            cache = LeaderEpochCache()
        first = cache.entries[0].start_offset if cache.entries else log_end
        if first > log_start and not (self.request.clean and cache.entries):
            # Lost, or cut for a log start that never got into its checkpoint.
            known, cache = cache, LeaderEpochCache()
            self.scanned_epochs = [
                *self._scan_epochs(first),
                *((entry.epoch, entry.start_offset) for entry in known.entries),
                *self.scanned_epochs,
            ]
        for epoch, start_offset in self.scanned_epochs:
            if epoch > cache.latest_epoch:
                cache.assign(epoch, start_offset)
        cache.truncate_from_start(log_start)
        cache.truncate_from_end(log_end)  # an epoch without a record left is not kept
        if cache.encode() != before and (before is not None or cache.entries):
            write_leader_epochs(path, cache, self.files)
        return cache

    def _scan_epochs(self, until: int) -> list[tuple[int, int]]:
        epochs: list[tuple[int, int]] = []
        for segment in self.segments:
            if segment.base_offset < until:
                header_scanner(segment).run(epochs=epochs)
        return epochs

    # ---- producer state

    def _open_txn_indexes(self) -> None:
        for segment in self.segments:
            if segment.base_offset not in self.txn_indexes:
                continue
            problem = open_index(self.files, segment)
            if problem:
                self.report.notes.append(f"transaction index rebuilt: {problem}")
                self.rebuild_txn_from = min(self.rebuild_txn_from, segment.base_offset)

    def _load_producers(self, snapshots: list[int], log_start: int, log_end: int) -> ProducerStates:
        bases = {segment.base_offset for segment in self.segments}
        usable = [offset for offset in snapshots if log_start < offset <= log_end]
        for offset in snapshots:
            # Kafka keeps those at segment starts and the newest one.
            if offset not in usable or (offset not in bases and offset != usable[-1]):
                self._remove(os.path.basename(path_of(self.directory, offset, SNAPSHOT_SUFFIX)))
        usable = [offset for offset in usable if offset <= self.rebuild_txn_from]
        producers, replay_from = self._load_snapshot(usable, log_start)
        replay(self.files, self.segments, producers, replay_from)
        producers.advance_to(log_end)
        return producers

    def _load_snapshot(self, usable: list[int], log_start: int) -> tuple[ProducerStates, int]:
        """The newest good snapshot (or an empty state) and where the replay begins."""
        producers = new_producers(self.request)
        for offset in reversed(usable):
            path = path_of(self.directory, offset, SNAPSHOT_SUFFIX)
            try:
                entries = read_snapshot(path, self.files)
            except FileNotFoundError:
                continue
            except (CorruptSnapshotError, OSError) as error:
                self.report.notes.append(f"producer snapshot not used: {error}")
                self._remove(os.path.basename(path))
                continue
            producers.load(entries, offset)
            producers.expire(self.request.now_ms, self.request.producer_id_expiration_ms)
            return producers, offset
        producers.truncate_fully_and_start_at(log_start)
        return producers, log_start


def header_scanner(segment: Segment) -> SegmentScanner:
    """Reads an opened segment's headers; what was found bad in it is passed over."""
    file = segment.take_file()
    return SegmentScanner(
        file.fd,
        segment.base_offset,
        segment.size,
        verify_from=segment.size,
        keep_below=segment.next_offset,
        file=file,
    )


def new_producers(request: LoadRequest) -> ProducerStates:
    return ProducerStates(verify_transactions=request.verify_transactions)


def replay(
    files: Files, segments: list[Segment], producers: ProducerStates, from_offset: int
) -> None:
    """Brings the state up to the end of the segments by what producers wrote from the offset on,
    and the transaction indexes by the markers there. Raises OSError.
    """
    for segment in segments:
        if segment.next_offset <= from_offset or segment.size == 0:
            continue
        scanner = header_scanner(segment)
        found = segment.find(from_offset) if from_offset > segment.base_offset else (0, 0, 0)
        if found is not None:
            scanner.start_at(found[0])
            scanner.run(producers=producers, producers_from=from_offset)
            reindex(files, segment, from_offset, (AbortedTxn(*txn) for txn in scanner.aborted))


def _end_of(segment: Segment) -> int:
    """Behind its last batch; what is known of a segment may be only where the next one begins."""
    scanner = header_scanner(segment)
    scanner.start_at(segment.offset_index.find(2**62)[1])
    return int(scanner.run().next_offset)


def _base(name: str) -> int:
    found = parse_name(name)
    return found[0] if found else -1
