"""The disk: appends, reads, random access, syncs and group commit, in rounds.

Owned by the process of the command, which waits for the disk here and does nothing else. It writes
in the folder that it is given, and no more than its limits say.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from tidelog._native.probe import FileLoop, group_commit
from tidelog.benchmarks.histogram import Histogram
from tidelog.profiling.disk_tables import RANDOM_BYTES, DiskTables
from tidelog.profiling.gather import (
    Limits,
    ProfileError,
    cpu_s_per_gb,
    mb_per_s,
    rate,
    size_name,
)
from tidelog.profiling.place import (
    IN_MEMORY,
    cached_share,
    drop_cache,
    file_system,
    fill_file,
    is_virtual,
    open_direct,
    reserve,
)
from tidelog.profiling.results import Section

#: Of writes and reads: from less than a block to what a log hands over at once.
SIZES: Final = (512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20)
WRITERS: Final = (1, 2, 4, 8, 16, 32, 64)
GROUP_WRITE_BYTES: Final = 1024
#: The file that is read, and each file that is written, at most.
READ_FILE_BYTES: Final = 256 << 20
WRITE_FILE_BYTES: Final = 1 << 30
STEP_BYTES_MIN: Final = 1 << 20
#: Random reads touch at most this part of a file, or they would read again what they have read.
RANDOM_SHARE: Final = 8
#: Pages that may still be cached where a read is called uncached.
CACHED_SHARE: Final = 0.02
#: The disk's part ends after so many times the seconds that were asked for, since syncs take
#: theirs, and not before so many seconds.
PATIENCE: Final = 4.0
PATIENCE_MIN_S: Final = 30.0

Tell = Callable[[str, float], None]
Sync = Literal["none", "data", "file"]
#: What random access and syncs are called: (operation, whether it writes, how its file is opened)
RANDOM: Final = (
    ("read, cached", False, "cached"),
    ("read, uncached", False, "uncached"),
    ("read, O_DIRECT", False, "direct"),
    ("write, page cache", True, "cached"),
    ("write, fdatasync each", True, "sync"),
    ("write, O_DIRECT", True, "direct"),
)
SYNCS: Final[tuple[tuple[str, Sync, str], ...]] = (
    ("append, fdatasync", "data", "fresh"),
    ("append, fsync", "file", "fresh"),
    ("append to fallocated, fdatasync", "data", "fallocated"),
    ("overwrite, fdatasync", "data", "written"),
)
APPENDS: Final = ("fresh", "fallocated", "direct", "direct, fallocated", "sync each")
READS: Final = ("cached", "uncached", "O_DIRECT")
WRITING_STEPS: Final = len(SIZES) * len(APPENDS) + len(SYNCS) + len(WRITERS) + 3


@dataclass(frozen=True)
class Plan:
    """What the limits come to. Bytes are of files."""

    rounds: int
    step_s: float
    step_bytes: int
    read_bytes: int

    @property
    def needed_bytes(self) -> int:
        """That lie on the disk at the same time."""
        return self.read_bytes + 2 * self.step_bytes


def plan(limits: Limits) -> Plan:
    """Raises ProfileError when there are too few bytes for so many rounds."""
    steps = WRITING_STEPS + len(SIZES) * len(READS) + 3
    read_bytes = max(8 << 20, min(READ_FILE_BYTES, limits.write_bytes // 10)) >> 22 << 22
    left = replace(limits, write_bytes=limits.write_bytes - read_bytes)
    step_bytes = left.step_bytes(WRITING_STEPS, WRITE_FILE_BYTES)
    if step_bytes < STEP_BYTES_MIN:
        needed = STEP_BYTES_MIN * WRITING_STEPS * limits.rounds * 1.15
        raise ProfileError(
            f"{limits.write_bytes:,} bytes are too few for {limits.rounds} rounds of the disk: "
            f"--bytes {needed:.2g} or more"
        )
    return Plan(limits.rounds, limits.step_s(steps), step_bytes, read_bytes)


class DiskProbe:
    """One run of the part, in the folder."""

    def __init__(self, folder: Path, limits: Limits, tell: Tell) -> None:
        self._plan = plan(limits)
        self._deadline_s = time.monotonic() + max(limits.seconds * PATIENCE, PATIENCE_MIN_S)
        self._folder = folder
        self._kind = file_system(folder)
        self._tell = tell
        self._tables = DiskTables()
        self._notes: dict[str, None] = {}
        self._data = folder / "data"

    def run(self) -> Section:
        """Raises OSError."""
        fill_file(self._data, self._plan.read_bytes)
        steps = list(self._steps())
        done = 0
        for number in range(self._plan.rounds):
            # What drifts with time, or is left behind by the step before, hits all alike.
            for index, (what, step) in enumerate(steps if number % 2 == 0 else reversed(steps)):
                self._tell(what, (done + index / len(steps)) / self._plan.rounds)
                try:
                    step()
                except ProfileError as refused:
                    self._note(str(refused))
            done += 1
            if time.monotonic() > self._deadline_s and done < self._plan.rounds:
                self._note(f"ended after {done} of {self._plan.rounds} rounds: the disk is slow")
                break
        return self._section(done)

    def _section(self, rounds: int) -> Section:
        if self._kind in IN_MEMORY:
            self._note(
                f"{self._kind} keeps files in memory: nothing is synced, uncached or direct there, "
                "so none of that was measured"
            )
        elif is_virtual():
            self._note(
                "this is a virtual machine: what is uncached here may come from the memory of its "
                "host, and what is synced may lie there"
            )
        p = self._plan
        return Section(
            "disk",
            "Disk",
            "Appends, reads, random access, syncs and group commit in files of their own.",
            {
                "file system": self._kind,
                "rounds": rounds,
                "seconds of a step": round(p.step_s, 4),
                "most bytes written by a step": p.step_bytes,
                "bytes of the file that is read": p.read_bytes,
            },
            self._tables.tables(),
            self._tables.histograms,
            notes=list(self._notes),
        )

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Every step of a round: what is shown of it, and the call. What is compared with each
        other stands side by side."""
        synced = self._kind not in IN_MEMORY
        for size in SIZES:
            if size > self._plan.step_bytes:
                self._note(
                    f"writes of {size_name(size)} were left out: --bytes is too few for them"
                )
                continue
            for how in APPENDS if synced else APPENDS[:2]:
                yield f"append {size_name(size)}, {how}", partial(self._append, size, how)
        for size in SIZES:
            for how in READS if synced else READS[:1]:
                yield f"read {size_name(size)}, {how}", partial(self._read, size, how)
        for what, writing, how in RANDOM:
            if synced or how == "cached":
                yield f"random {what}", partial(self._random, what, writing, how)
        if synced:
            for name, sync, where in SYNCS:
                yield name, partial(self._sync, name, sync, where)
            for writers in WRITERS:
                yield f"group commit of {writers}", partial(self._group, writers)

    @contextmanager
    def _new_file(self, direct: bool = False) -> Iterator[int]:
        """A descriptor of an empty file, which is removed afterwards."""
        path, flags = self._folder / "written", os.O_RDWR | os.O_CREAT | os.O_TRUNC
        try:
            if direct:
                fd = open_direct(path, flags, self._kind)
            else:
                fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            path.unlink(missing_ok=True)

    def _reserve(self, fd: int) -> None:
        try:
            reserve(fd, self._plan.step_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            raise ProfileError(f"{self._kind} has no fallocate") from error

    # --- steps ---

    def _append(self, size: int, how: str) -> None:
        p, direct = self._plan, how.startswith("direct")
        with self._new_file(direct) as fd:
            if how.endswith("fallocated"):
                self._reserve(fd)
            sync: Sync = "data" if how == "sync each" else "none"
            loop = FileLoop(fd, size=size, span=p.step_bytes, writing=True, sync=sync)
            with self._direct_size(direct, size):
                found = loop.run(seconds=p.step_s, max_bytes=p.step_bytes)
            began_ns = time.monotonic_ns()
            if how in ("fresh", "fallocated") and self._kind not in IN_MEMORY:
                os.fdatasync(fd)
                whole_ns = found["elapsed_ns"] + time.monotonic_ns() - began_ns
                self._tables.append(size, f"{how}, synced", mb_per_s(found["bytes"], whole_ns))
        self._tables.append(
            size,
            how,
            mb_per_s(found["bytes"], found["elapsed_ns"]),
            cpu_s_per_gb(found["cpu_ns"], found["bytes"]),
        )

    @contextmanager
    def _direct_size(self, direct: bool, size: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not direct or error.errno != errno.EINVAL:
                raise
            text = f"O_DIRECT on {self._kind} refuses calls of {size_name(size)}"
            raise ProfileError(text) from error

    @contextmanager
    def _read_file(self, how: str, writing: bool = False) -> Iterator[int]:
        """The file that is read, cached or not. Raises ProfileError where it can't be had so."""
        flags = os.O_RDWR if writing else os.O_RDONLY
        if how == "direct" or how == "O_DIRECT":
            fd = open_direct(self._data, flags, self._kind)
        else:
            fd = os.open(self._data, flags | os.O_CLOEXEC)
        try:
            if how == "uncached":
                drop_cache(fd)
                left = cached_share(fd, self._plan.read_bytes)
                if left > CACHED_SHARE:
                    raise ProfileError(
                        f"{self._kind} kept {left:.0%} of a file cached that it was asked to "
                        "forget: no uncached read was measured there"
                    )
            elif how in ("direct", "O_DIRECT"):
                drop_cache(fd)
            else:
                self._warm(fd)
            yield fd
        finally:
            os.close(fd)

    def _warm(self, fd: int) -> None:
        if cached_share(fd, self._plan.read_bytes) < 1:
            whole = FileLoop(fd, size=1 << 20, span=self._plan.read_bytes, writing=False)
            whole.run(seconds=60.0, max_bytes=self._plan.read_bytes)

    def _read(self, size: int, how: str) -> None:
        p = self._plan
        with self._read_file(how) as fd:
            cached = how == "cached"
            loop = FileLoop(fd, size=size, span=p.read_bytes, writing=False, wrap=cached)
            with self._direct_size(how == "O_DIRECT", size):
                found = loop.run(seconds=p.step_s, max_bytes=1 << 40 if cached else p.read_bytes)
        self._tables.read(
            size,
            how,
            mb_per_s(found["bytes"], found["elapsed_ns"]),
            cpu_s_per_gb(found["cpu_ns"], found["bytes"]),
        )

    def _random(self, what: str, writing: bool, how: str) -> None:
        p = self._plan
        with self._read_file(how, writing) as fd:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            loop = FileLoop(
                fd,
                size=RANDOM_BYTES,
                span=p.read_bytes,
                writing=writing,
                random=True,
                sync="data" if how == "sync" else "none",
                timed=how != "sync",
            )
            most = p.step_bytes if writing else 1 << 40
            if how == "uncached":
                most = p.read_bytes // RANDOM_SHARE
            found = loop.run(seconds=p.step_s, max_bytes=most)
        calls = rate(found["calls"], found["elapsed_ns"])
        latency = Histogram.from_buckets(*found["latency"]) if how != "sync" else None
        self._tables.random(what, calls, latency)

    def _sync(self, name: str, sync: Sync, where: str) -> None:
        p = self._plan
        with self._new_file() as fd:
            if where == "fallocated":
                self._reserve(fd)
            if where == "written":
                span = min(p.step_bytes, 1 << 20)
                FileLoop(fd, size=1 << 20, span=span, writing=True).run(seconds=60, max_bytes=span)
                os.fdatasync(fd)
            else:
                span = p.step_bytes
            loop = FileLoop(
                fd,
                size=RANDOM_BYTES,
                span=span,
                writing=True,
                sync=sync,
                wrap=where == "written",
                timed=True,
            )
            found = loop.run(seconds=p.step_s, max_bytes=p.step_bytes)
        latency = Histogram.from_buckets(*found["latency"])
        self._tables.sync(name, rate(found["calls"], found["elapsed_ns"]), latency)

    def _group(self, writers: int) -> None:
        p = self._plan
        with self._new_file() as fd:
            found = group_commit(
                fd,
                size=GROUP_WRITE_BYTES,
                writers=writers,
                seconds=p.step_s,
                max_bytes=p.step_bytes,
            )
        latency = Histogram.from_buckets(*found["latency"])
        self._tables.group(writers, found["writes"], found["syncs"], found["elapsed_ns"], latency)
