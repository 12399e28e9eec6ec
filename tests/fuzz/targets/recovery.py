"""Fuzz target: a node's log directory, one of whose files is the input.

Input: one byte for the file (KINDS), one of options, then the file's content. The directory is
opened by the log manager as a worker does it.

Must hold: it opens, or is refused as a whole with StorageError or OSError and opens once the file
is put back; the bystander's records are all there; so are the victim's, unless the file is one that
holds them or says where they start; a log that is offline lost no byte of its other files; what is
served has its checksum when it was verified; appending goes on at the end and is there after the
next start; no descriptor is left.
"""

from __future__ import annotations

import gc
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tests.fuzz.lanes.lane_model import MEMORY
from tests.fuzz.recovery.node_folder import (
    BYSTANDER,
    TOPIC,
    VICTIM,
    Content,
    Opened,
    batch_bytes,
    lay_out,
    original,
    sealed_batches,
    template,
)
from tidelog._native.crc32c import crc32c
from tidelog.errors import KafkaError, StorageError
from tidelog.record.view import iterate_batches
from tidelog.storage import written_positions
from tidelog.storage.checkpoints import (
    CLEANER_CHECKPOINT,
    LOG_START_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
    MalformedFileError,
    decode_offsets,
)
from tidelog.storage.clean_shutdown import CLEAN_SHUTDOWN
from tidelog.storage.log import PartitionLog
from tidelog.storage.meta_properties import META_PROPERTIES
from tidelog.storage.partition_metadata import PARTITION_METADATA, decode_partition_metadata
from tidelog.storage.written_positions import WRITTEN_FILE, boot_id

MAX_INPUT_BYTES = 4096

#: Which file: in the victim's folder "middle", "last" and "first" stand for a segment's number.
KINDS = (
    "t-0/middle.log",
    "t-0/last.log",
    "t-0/middle.index",
    "t-0/last.index",
    "t-0/middle.timeindex",
    "t-0/last.timeindex",
    "t-0/last.snapshot",
    "t-0/leader-epoch-checkpoint",
    f"t-0/{PARTITION_METADATA}",
    META_PROPERTIES,
    RECOVERY_POINT_CHECKPOINT,
    LOG_START_CHECKPOINT,
    CLEANER_CHECKPOINT,
    CLEAN_SHUTDOWN,
    WRITTEN_FILE,
    "t-0/middle.log.swap",
    "t-0/middle.log.cleaned",
    "t-0/middle.txnindex",
)
#: Options: closed in order before; no recovery points; checksums (or the header of .written) made
#: right; the second end is in order, too.
CLEAN, NO_RECOVERY_POINTS, SEALED, ENDS_CLEAN = 1, 2, 4, 8
#: Slots of .written: all of them are looked at, which a traced interpreter does slowly.
_SLOTS_MAX = 256
#: Batches read from one log: none holds more.
_BATCHES_MAX = 500


def run(data: bytes) -> None:
    """One input."""
    if len(data) < 2:
        return
    before = _descriptors()
    slots = mock.patch.multiple(
        written_positions, WRITTEN_SLOTS_MAX=_SLOTS_MAX, _SIZE=64 + 64 * _SLOTS_MAX
    )
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        with slots:
            _Case(folder, KINDS[data[0] % len(KINDS)], data[1], data[2:]).check()
    finally:
        shutil.rmtree(folder)
    if _descriptors() > before:
        gc.collect()  # what an error's frames held
        assert _descriptors() <= before, "descriptors are left open"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def seeds() -> Iterator[tuple[str, bytes]]:
    """Every file as it should be, cut in half, and empty; with the options that concern it."""
    for number, kind in enumerate(KINDS):
        for clean in (True, False):
            good = template(clean).get(file_of(kind, clean), b"")
            if kind in (CLEANER_CHECKPOINT, LOG_START_CHECKPOINT):
                good = b"0\n2\nt 0 3\nt 1 4\n"
            elif kind == WRITTEN_FILE:
                good = written_slots()
            elif kind.endswith((".swap", ".cleaned")):
                good = template(clean)[file_of("t-0/middle.log", clean)]
            options = (CLEAN if clean else NO_RECOVERY_POINTS) | SEALED
            name = f"{kind.replace('/', '-')}-{'clean' if clean else 'killed'}"
            yield name, bytes([number, options]) + good
            yield f"{name}-half", bytes([number, options | ENDS_CLEAN]) + good[: len(good) // 2]
            yield f"{name}-synced", bytes([number, options & CLEAN]) + good
        yield f"{kind.replace('/', '-')}-empty", bytes([number, 0])


def written_slots() -> bytes:
    """The used part of a .written with both logs in it, behind the header."""
    slot = struct.Struct("=16siIqq24x")
    found = [slot.pack(bytes(range(16)), index, 0, 0, 100) for index in (0, 1)]
    return struct.pack("=q16x", len(found)) + b"".join(found)


def file_of(kind: str, clean: bool) -> str:
    """The file's path in the directory."""
    folder, _, name = kind.rpartition("/")
    place, dot, suffix = name.partition(".")
    if place not in ("middle", "last"):
        return kind
    bases = segment_bases(clean)
    if suffix == "snapshot":
        found = sorted(n for n in template(clean) if n.startswith("t-0/") and n.endswith(suffix))
        return found[-1] if found else f"t-0/{bases[-1]:020d}.snapshot"
    base = bases[-1] if place == "last" else bases[len(bases) // 2]
    return f"{folder}/{base:020d}{dot}{suffix}"


def segment_bases(clean: bool) -> list[int]:
    names = [name for name in template(clean) if name.startswith("t-0/") and name.endswith(".log")]
    return sorted(int(Path(name).stem) for name in names)


class _Case:
    """One directory with one file replaced."""

    def __init__(self, folder: Path, kind: str, options: int, content: bytes) -> None:
        self.folder = folder
        self.kind = kind
        self.clean = bool(options & CLEAN)
        self.options = options
        self.path = folder / file_of(kind, self.clean)
        lay_out(folder, self.clean)
        if options & NO_RECOVERY_POINTS:
            (folder / RECOVERY_POINT_CHECKPOINT).unlink()
        self.before = self.path.read_bytes() if self.path.exists() else None
        if kind == WRITTEN_FILE:
            self._write_slots(content)
        else:
            self.content = self._sealed(content) if options & SEALED else content
            self.path.write_bytes(self.content)

    def _sealed(self, content: bytes) -> bytes:
        if ".log" in self.kind:
            return sealed_batches(content)
        if self.kind.endswith(".snapshot") and len(content) >= 10:
            return content[:2] + crc32c(content[6:]).to_bytes(4, "big") + content[6:]
        return content

    def _write_slots(self, content: bytes) -> None:
        self.content = content
        with open(self.path, "wb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if self.options & SEALED:
                file.write(struct.pack("=8sII16sQ", b"TLWRITTN", 1, 64, boot_id(), inode))
            file.write(content)
            file.truncate(64 + 64 * _SLOTS_MAX)

    @property
    def holds_records(self) -> bool:
        """Whether the file is one of those that hold the victim's records."""
        return self.kind.endswith((".log", ".log.swap"))

    # ---- opening

    def check(self) -> None:
        opened = Opened(self.folder)
        try:
            report = opened.start()
        except (StorageError, OSError):
            opened.close(clean=False)
            self._check_put_back()
            return
        try:
            found = {index: self._check_log(opened, index) for index in (VICTIM, BYSTANDER)}
            clean = self._is_clean()
            assert report.clean == clean
            appended = {index: self._append(opened, index) for index in found if opened.log(index)}
        finally:
            opened.close(clean=bool(self.options & ENDS_CLEAN))
        self._check_reopened(found, appended)

    def _is_clean(self) -> bool:
        return self.clean or self.kind == CLEAN_SHUTDOWN

    def _check_put_back(self) -> None:
        """Refused: nothing may be gone when the file is as it was."""
        if self.before is None:
            self.path.unlink()
        else:
            self.path.write_bytes(self.before)
        opened = Opened(self.folder)
        try:
            opened.start()
            for index in (VICTIM, BYSTANDER):
                log = opened.log(index)
                assert log is not None
                assert read_all(log) == original(index, self.clean), index
        finally:
            opened.close(clean=False)

    def _check_log(self, opened: Opened, index: int) -> Content | None:
        """What the log holds now; None when it is not served."""
        log = opened.log(index)
        whole = original(index, self.clean)
        if log is None:
            self._check_not_served(opened, index)
            return None
        start = self._log_start(index)
        end = whole[-1][0] + len_of(whole[-1][1])
        if start > end:
            assert (log.core.log_start_offset, log.core.log_end_offset) == (start, start)
            return []
        assert log.core.log_start_offset == start or (index == VICTIM and self.holds_records)
        if index == VICTIM and self.holds_records:
            return self._check_victim(log, whole)
        wanted = [one for one in whole if one[0] + len_of(one[1]) > start]
        found = read_all(log, errors=index == VICTIM and self.kind.endswith(".index"))
        if found != wanted:
            # An index that leads astray may cost a read error, and nothing once it is deleted.
            assert self.kind.endswith(".index")
            assert all(one in wanted for one in found)
        assert log.core.log_end_offset == end
        return wanted

    def _log_start(self, index: int) -> int:
        """Where the log starts by its checkpoint, if that can be read."""
        if self.kind != LOG_START_CHECKPOINT:
            return 0
        try:
            found = decode_offsets(self.content, "").get((TOPIC, index), 0)
        except MalformedFileError:
            return 0
        return max(found, 0)

    def _check_not_served(self, opened: Opened, index: int) -> None:
        """Offline or not ours: then the other files are as they were."""
        assert index == VICTIM
        if (TOPIC, index) not in opened.manager.failed_logs():
            assert self.kind.endswith(PARTITION_METADATA)
            decode_partition_metadata(self.content, "")
        for name, data in template(self.clean).items():
            path = self.folder / name
            if name.startswith("t-0/") and name.endswith(".log") and path != self.path:
                kept = [path, path.with_name(path.name + ".deleted")]
                assert any(one.exists() and one.read_bytes() == data for one in kept), name

    def _check_victim(self, log: PartitionLog, whole: Content) -> Content:
        """The file held records: what it does not hold is there, up to where the log was cut."""
        found = read_all(log, strict=False)
        offsets = [base for base, _ in found]
        assert offsets == sorted(set(offsets))
        base = int(self.path.name.split(".")[0])
        below = [one for one in whole if one[0] < base]
        if self.kind.endswith(".log"):
            assert found[: len(below)] == below
        if not self.clean and not log.report.damaged and self.options & NO_RECOVERY_POINTS:
            for _, data in found:
                assert next(iterate_batches(data)).is_crc_ok
        return found

    # ---- going on

    def _append(self, opened: Opened, index: int) -> tuple[int, bytes] | None:
        log = opened.log(index)
        assert log is not None
        end = log.core.log_end_offset
        if end > 2**62:
            return None  # (only a checkpoint says such things)
        data = batch_bytes(30)
        assert opened.append(log, data) == end
        return end, data

    def _check_reopened(
        self, found: dict[int, Content | None], appended: dict[int, tuple[int, bytes] | None]
    ) -> None:
        if self.kind.endswith(".index"):
            self.path.unlink(missing_ok=True)
        opened = Opened(self.folder)
        try:
            opened.start()
            for index, content in found.items():
                log = opened.log(index)
                if content is None:
                    continue
                assert log is not None, opened.manager.failed_logs()
                now = read_all(log, strict=index != VICTIM or not self.holds_records)
                new = appended[index]
                if new is None:
                    continue
                assert now[:-1] == content, index
                assert (now[-1][0], now[-1][1][16:]) == (new[0], new[1][16:])
        finally:
            opened.close(clean=False)


def len_of(batch: bytes) -> int:
    """How many offsets a batch takes."""
    return int.from_bytes(batch[23:27], "big", signed=True) + 1


def read_all(log: PartitionLog, *, strict: bool = True, errors: bool = False) -> Content:
    """Every batch by its offset. `errors`: offsets that cannot be read are left out; not `strict`:
    also ranges in which there is nothing."""
    found: Content = []
    offset, end = log.core.log_start_offset, log.core.log_end_offset
    while offset < end:
        assert len(found) < _BATCHES_MAX
        try:
            data = log.read_bytes(offset, 1)
        except KafkaError:
            if errors:
                offset += 1
                continue
            if strict:
                raise
            following = [s.base_offset for s in log.core.segment_list if s.base_offset > offset]
            if not following:
                break
            offset = following[0]
            continue
        if not data:
            assert not strict, f"nothing at {offset}, before the end {end}"
            break
        base = int.from_bytes(data[:8], "big", signed=True)
        last = base + len_of(data) - 1
        assert last >= offset, (base, last, offset)
        assert not strict or base <= offset or offset == log.core.log_start_offset
        found.append((base, data))
        offset = last + 1
    return found
