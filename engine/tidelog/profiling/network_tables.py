"""The tables of the network: which figures there are, and what each means.

Pure.
"""

from __future__ import annotations

from typing import Final

from tidelog.benchmarks.histogram import Histogram
from tidelog.profiling.gather import Grid, cpu_s_per_gb, mb_per_s, rate, size_name, tables_of
from tidelog.profiling.results import Column, Table

_FILE_KINDS: Final = ("sendfile", "read+send")


class NetworkTables:
    """Takes the figures of each round."""

    def __init__(self) -> None:
        speed = Column("throughput", "MB/s", "higher")
        cpu = Column("CPU", "CPU s/GB", "lower")
        self._trips = Grid(
            "round trips",
            "message, in flight",
            [
                Column("round trips", "1/s", "higher"),
                Column("p50", "µs", "lower"),
                Column("p99", "µs", "lower"),
                Column("CPU of each", "µs", "lower"),
            ],
            "Messages that come back as they are; latency from send to the whole answer. CPU of "
            "the thread that sends.",
        )
        self._throughput = Grid(
            "throughput by message size",
            "message",
            [speed, Column("messages", "1/s", "higher"), cpu],
            "One send for each message, from memory, until the other side has counted it all.",
            "bytes",
        )
        self._file = Grid(
            "a file in the page cache, sent",
            "chunk",
            [Column(kind, "MB/s", "higher") for kind in _FILE_KINDS]
            + [Column(f"CPU of {kind}", "CPU s/GB", "lower") for kind in _FILE_KINDS],
            "sendfile against read and send, by the bytes of each call.",
            "bytes",
        )
        self._limit = Grid(
            "limit of disk and network",
            "from and to",
            [speed, cpu],
            "The most that can be had of handing a log to a reader, in slices of 256 KiB: by "
            "sendfile from the page cache, by sendfile from the disk, and each end alone.",
        )
        self.histograms: dict[str, Histogram] = {}

    def round_trip(
        self, size: int, window: int, elapsed_ns: int, cpu_ns: int, latency: Histogram
    ) -> None:
        row = f"{size_name(size)}, {window}"
        self._trips.add(row, "round trips", rate(latency.count, elapsed_ns))
        if latency.count:
            self._trips.add(row, "p50", latency.percentile(50) / 1e3)
            self._trips.add(row, "p99", latency.percentile(99) / 1e3)
            self._trips.add(row, "CPU of each", cpu_ns / latency.count / 1e3)
            if window == 1:
                kept = self.histograms.setdefault(f"round trip of {size_name(size)}", Histogram())
                kept.merge(latency)

    def throughput(
        self, size: int, moved: int, messages: int, elapsed_ns: int, cpu_ns: int
    ) -> None:
        row = size_name(size)
        self._throughput.add(row, "throughput", mb_per_s(moved, elapsed_ns), size)
        self._throughput.add(row, "messages", rate(messages, elapsed_ns), size)
        self._throughput.add(row, "CPU", cpu_s_per_gb(cpu_ns, moved), size)

    def from_file(self, size: int, kind: str, speed: float, cpu: float) -> None:
        """speed: MB/s; cpu: seconds for each GB."""
        self._file.add(size_name(size), kind, speed, size)
        self._file.add(size_name(size), f"CPU of {kind}", cpu, size)

    def limit(self, place: str, speed: float, cpu: float) -> None:
        self._limit.add(place, "throughput", speed)
        self._limit.add(place, "CPU", cpu)

    def tables(self) -> list[Table]:
        return tables_of([self._trips, self._throughput, self._file, self._limit])
