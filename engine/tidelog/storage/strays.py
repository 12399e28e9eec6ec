"""Logs that no topic of the node owns: set aside under Kafka's name for them, `-stray`.

Such a log belongs to a topic that was deleted while the node was down, or that another topic of
the same name has followed, or the metadata is older than the log. Which of these, nobody here can
know: so it is never deleted and never served. Runs on helper threads, called by the
log manager; `set_all_aside` on its loop.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from tidelog.storage.directory import STRAY_SUFFIX, LogFolder, set_aside
from tidelog.storage.files import Files
from tidelog.storage.partition_metadata import PARTITION_METADATA
from tidelog.storage.segment_files import LOG_SUFFIX, parse_name
from tidelog.storage.start_report import StartReport

logger: Final = logging.getLogger(__name__)


def holds_log(files: Files, path: str) -> bool:
    """Whether a folder that is named as a log is one: it has an id or a segment. Raises OSError."""
    if files.exists(os.path.join(path, PARTITION_METADATA)):
        return True
    parsed = (parse_name(entry.name) for entry in files.list_directory(path))
    return any(found is not None and found[1] == LOG_SUFFIX for found in parsed)


def set_stray_aside(files: Files, directory: str, folder: LogFolder, unique: bytes) -> str | None:
    """Renames the log's folder; durable when it returns the new name. None: it is no log, and
    stays. Raises OSError.
    """
    path = os.path.join(directory, folder.name)
    if not folder.topic or not holds_log(files, path):
        return None
    name = set_aside(files, path, unique)
    files.sync_directory(directory)
    return name


def original_folder(name: str) -> str | None:
    """The log's folder as it was named before it was set aside; None for any other name."""
    if not name.endswith(STRAY_SUFFIX):
        return None
    original, dot, _unique = name.removesuffix(STRAY_SUFFIX).rpartition(".")
    return original if dot and original else None


async def set_all_aside(
    run: Callable[..., Awaitable[Any]],
    files: Files,
    directory: str,
    unknown: Iterable[LogFolder],
    report: StartReport,
    fresh_id: Callable[[], uuid.UUID],
) -> list[LogFolder]:
    """Renames the logs among folders that nobody knows, on helpers by `run`; other folders are not
    ours to touch. Returns those that were renamed.
    """
    renamed = []
    for folder in unknown:
        if folder.name.endswith(STRAY_SUFFIX):
            report.strays += 1
            continue
        try:
            name = await run(set_stray_aside, files, directory, folder, fresh_id().bytes)
        except OSError as error:
            logger.error("log cannot be set aside folder=%s error=%s", folder.name, error)
            name = None
        if name is None:
            report.unknown.append(folder.name)
            continue
        report.strays += 1
        report.set_aside.append((folder.name, name))
        renamed.append(folder)
    return renamed
