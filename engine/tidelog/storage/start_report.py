"""What the start of a log directory found, and the log lines that tell it.

Belongs to a LogManager, on its loop; the files are read by then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from tidelog.storage.loader import LoadReport

logger: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class StartReport:
    """What start() found."""

    clean: bool
    loaded: int = 0
    reports: list[LoadReport] = field(default_factory=list)  # only those with something to say
    failed: list[tuple[str, str]] = field(default_factory=list)  # (folder, error): offline
    unknown: list[str] = field(default_factory=list)  # folders that were not expected, left alone
    set_aside: list[tuple[str, str]] = field(default_factory=list)  # (folder, its stray name)
    strays: int = 0  # folders set aside, now or earlier
    notes: list[str] = field(default_factory=list)


def log_report(directory: str, report: StartReport, *, tell_unknown: bool = True) -> None:
    """The lines that an operator reads."""
    logger.info(
        "log directory ready directory=%s clean=%s logs=%d failed=%d unknown=%d strays=%d",
        directory, report.clean, report.loaded, len(report.failed), len(report.unknown),
        report.strays,
    )  # fmt: skip
    for note in report.notes:
        logger.warning("checkpoint not used error=%s", note)
    for name, error in report.failed:
        logger.error("log offline folder=%s error=%s", name, error)
    for name in report.unknown if tell_unknown else ():
        logger.warning("unknown folder left alone folder=%s", name)
    for name, stray in report.set_aside:
        logger.warning("unknown log set aside folder=%s stray=%s", name, stray)
    for one in report.reports:
        logger.warning(
            "log recovered directory=%s cut_bytes=%d cut_at_offset=%d reason=%r"
            " lost_synced_bytes=%s removed_segments=%d damaged=%s notes=%s",
            one.directory, one.cut_bytes, one.cut_at_offset, one.cut_reason,
            one.lost_synced_bytes, len(one.removed_segments), one.damaged, one.notes,
        )  # fmt: skip
