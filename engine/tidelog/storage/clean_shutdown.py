"""`.kafka_cleanshutdown` of a log directory: it was closed in order, no recovery is needed.

Format (Kafka's, version 0): JSON `{"version":0,"brokerEpoch":N}` without a newline. The epoch tells
the controller which life of the node that was (KIP-966). The marker is removed before the logs are
opened, so that a crash finds none. Runs on helper threads, or before a loop runs.
"""

from __future__ import annotations

import json
import os

from tidelog.storage.files import SYSTEM_FILES, Files

CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
CLEAN_SHUTDOWN_VERSION = 0
_LIMIT_BYTES = 64 * 1024


def encode_clean_shutdown(broker_epoch: int) -> bytes:
    """The file's content."""
    return f'{{"version":{CLEAN_SHUTDOWN_VERSION},"brokerEpoch":{broker_epoch}}}'.encode()


def decode_clean_shutdown(data: bytes) -> int | None:
    """The broker epoch; None for a marker of an older Kafka, which is empty, or a damaged one.

    The content is no reason to doubt the marker itself: it is there only after all else was synced.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    epoch = content.get("brokerEpoch") if isinstance(content, dict) else None
    return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None


def is_clean(directory: str, files: Files = SYSTEM_FILES) -> bool:
    """Whether the directory was closed in order."""
    return files.exists(os.path.join(directory, CLEAN_SHUTDOWN))


def read_clean_shutdown(directory: str, files: Files = SYSTEM_FILES) -> int | None:
    """The broker epoch of the marker; None without a marker or without an epoch. Raises OSError."""
    try:
        data = files.read(os.path.join(directory, CLEAN_SHUTDOWN), _LIMIT_BYTES)
    except FileNotFoundError:
        return None
    return decode_clean_shutdown(data)


def write_clean_shutdown(directory: str, broker_epoch: int, files: Files = SYSTEM_FILES) -> None:
    """Leaves the marker, durably; the last thing that happens in a directory. Raises OSError."""
    files.write(os.path.join(directory, CLEAN_SHUTDOWN), encode_clean_shutdown(broker_epoch))


def remove_clean_shutdown(directory: str, files: Files = SYSTEM_FILES) -> bool:
    """Takes the marker away, durably. Returns whether there was one. Raises OSError."""
    removed = files.unlink(os.path.join(directory, CLEAN_SHUTDOWN))
    if removed:
        files.sync_directory(directory)
    return removed
