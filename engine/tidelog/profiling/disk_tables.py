"""The tables of the disk: which figures there are, and what each means.

Pure.
"""

from __future__ import annotations

from typing import Final

from tidelog.benchmarks.histogram import Histogram
from tidelog.profiling.gather import Grid, rate, size_name, tables_of
from tidelog.profiling.results import Column, Table

#: Of random reads and writes, and of what a sync is measured behind.
RANDOM_BYTES: Final = 4096

_APPEND: Final = (
    ("fresh", "page cache"),
    ("fallocated", "page cache, fallocated"),
    ("fresh, synced", "with fdatasync at the end"),
    ("fallocated, synced", "the same, fallocated"),
    ("sync each", "fdatasync each"),
    ("direct", "O_DIRECT"),
    ("direct, fallocated", "O_DIRECT, fallocated"),
)
_READ: Final = ("cached", "uncached", "O_DIRECT")


class DiskTables:
    """Takes the figures of each round."""

    def __init__(self) -> None:
        names = dict(_APPEND)
        self._append_names = names
        self._append = Grid(
            "sequential append",
            "write size",
            [Column(name, "MB/s", "higher") for name in names.values()],
            "New files are written from the beginning on. Fallocated: the space was reserved "
            "before (KEEP_SIZE), as preallocate does.",
            "bytes",
        )
        unsynced = [name for how, name in _APPEND if "synced" not in how]
        self._append_cpu = Grid(
            "CPU of appends",
            "write size",
            [Column(name, "CPU s/GB", "lower") for name in unsynced],
            "CPU of the writing thread, in the kernel and out of it.",
            "bytes",
        )
        self._read = Grid(
            "sequential read",
            "read size",
            [Column(name, "MB/s", "higher") for name in _READ],
            "Uncached: the kernel was asked to forget the file before, and had.",
            "bytes",
        )
        self._read_cpu = Grid(
            "CPU of reads",
            "read size",
            [Column(name, "CPU s/GB", "lower") for name in _READ],
            "CPU of the reading thread.",
            "bytes",
        )
        latency = [Column("p50", "µs", "lower"), Column("p99", "µs", "lower")]
        self._random = Grid(
            f"random access, {size_name(RANDOM_BYTES)}",
            "operation",
            [Column("rate", "1/s", "higher"), *latency],
            "One call at a time: a device that takes several at once can do more.",
        )
        self._sync = Grid(
            f"latency of a sync behind {size_name(RANDOM_BYTES)}",
            "operation",
            [Column("rate", "1/s", "higher"), *latency, Column("max", "µs", "lower")],
            "Latencies are those of the sync alone.",
        )
        self._group = Grid(
            "group commit",
            "writers",
            [
                Column("writes", "1/s", "higher"),
                Column("syncs", "1/s", ""),
                Column("writes for each sync", "", ""),
                *latency,
            ],
            "Writers of 1 KiB that wait until an fdatasync covers what they wrote, and share it.",
            "writers",
        )
        self.histograms: dict[str, Histogram] = {}

    def append(self, size: int, how: str, speed: float, cpu: float | None = None) -> None:
        """speed: MB/s; cpu: seconds for each GB."""
        name = self._append_names[how]
        self._append.add(size_name(size), name, speed, size)
        if cpu is not None:
            self._append_cpu.add(size_name(size), name, cpu, size)

    def read(self, size: int, how: str, speed: float, cpu: float) -> None:
        self._read.add(size_name(size), how, speed, size)
        self._read_cpu.add(size_name(size), how, cpu, size)

    def random(self, what: str, calls_per_s: float, latency: Histogram | None) -> None:
        self._random.add(what, "rate", calls_per_s)
        if latency is not None and latency.count:
            self._percentiles(self._random, what, latency)
            if what == "read, uncached":
                self._keep("random read, uncached", latency)

    def sync(self, name: str, syncs_per_s: float, latency: Histogram) -> None:
        self._sync.add(name, "rate", syncs_per_s)
        if latency.count:
            self._percentiles(self._sync, name, latency)
            self._sync.add(name, "max", latency.max_ns / 1e3)
        self._keep(name, latency)

    def group(
        self, writers: int, writes: int, syncs: int, elapsed_ns: int, latency: Histogram
    ) -> None:
        row = str(writers)
        self._group.add(row, "writes", rate(writes, elapsed_ns), writers)
        self._group.add(row, "syncs", rate(syncs, elapsed_ns), writers)
        if latency.count:
            self._group.add(row, "writes for each sync", writes / max(1, syncs), writers)
            self._percentiles(self._group, row, latency, writers)

    def _percentiles(
        self, grid: Grid, row: str, latency: Histogram, at: float | None = None
    ) -> None:
        grid.add(row, "p50", latency.percentile(50) / 1e3, at)
        grid.add(row, "p99", latency.percentile(99) / 1e3, at)

    def _keep(self, name: str, latency: Histogram) -> None:
        self.histograms.setdefault(name, Histogram()).merge(latency)

    def tables(self) -> list[Table]:
        return tables_of(
            [
                self._append,
                self._append_cpu,
                self._read,
                self._read_cpu,
                self._random,
                self._sync,
                self._group,
            ]
        )
