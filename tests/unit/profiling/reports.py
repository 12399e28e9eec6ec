"""A small profile, for tests of what is made of one."""

from __future__ import annotations

from collections.abc import Sequence

from tidelog.benchmarks.histogram import Histogram
from tidelog.profiling.results import Attachment, Column, Report, Row, Section, Table


def report(factor: float = 1.0, rounds: int = 5, warnings: Sequence[str] = ()) -> Report:
    """factor: of the appends' figures, which get better with it."""
    histogram = Histogram()
    for value in (50_000, 60_000, 900_000):
        histogram.record(value)
    spread = [100.0 + number for number in range(rounds)]
    append = Table(
        "append",
        "size",
        [Column("fresh", "MB/s", "higher"), Column("<direct>", "MB/s", "higher")],
        [
            Row("512 B", [[factor * value for value in spread], []], 512),
            Row("4 KiB", [[10 * factor * value for value in spread], [7.0] * rounds], 4096),
            Row("64 KiB", [[20 * factor * value for value in spread], [9.0] * rounds], 65_536),
        ],
        "How it goes <on>.",
        "bytes",
    )
    other = Table(
        "cost",
        "what",
        [Column("CPU", "s/GB", "lower"), Column("of the floor", "", "")],
        [Row("all", [[2.0] * rounds, [0.5] * rounds])],
    )
    disk = Section(
        "disk",
        "Disk",
        "The <disk>.",
        {"file system": "ext4"},
        [append, other],
        {"fsync & co": histogram},
        {"A tree": ["a <1>", "  b"]},
        [Attachment("Flames", "svg", '<svg viewBox="0 0 1 1"></svg>')],
        ["no <O_DIRECT>"],
        ["it was busy"],
    )
    return Report({"rounds": rounds}, [disk], "2026", {"tidelog": "1"}, {"cpus": 2}, warnings)
