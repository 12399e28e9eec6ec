"""The file `replication-offset-checkpoint`: how far each log was known to be committed.

Belongs to the log manager, on its loop; the file is read and written on helper threads. It is not
synced with every change: an old high watermark only means that what is above it has to be confirmed
by the ISR once more. Logs without other replicas are not in it: all that they hold is committed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from tidelog.storage.checkpoints import (
    REPLICATION_CHECKPOINT,
    MalformedFileError,
    TopicPartition,
    read_offsets,
    write_offsets,
)
from tidelog.storage.files import Files

if TYPE_CHECKING:
    from tidelog.storage.log import PartitionLog

logger: Final = logging.getLogger(__name__)

#: "Nothing is known."
UNKNOWN: Final = -1


class HighWatermarks:
    """See the module. `run` runs a function on a helper thread; `logs` gives the open logs."""

    def __init__(
        self,
        files: Files,
        directory: str,
        run: Callable[..., Awaitable[Any]],
        logs: Callable[[], Iterable[PartitionLog]],
    ) -> None:
        self._files = files
        self._path = os.path.join(directory, REPLICATION_CHECKPOINT)
        self._run = run
        self._logs = logs
        self._read: dict[TopicPartition, int] = {}
        self._written: dict[TopicPartition, int] = {}

    async def load(self) -> None:
        """Reads the file; one that cannot be read is one without entries. Raises OSError."""
        try:
            self._read = await self._run(read_offsets, self._path, self._files)
        except MalformedFileError as error:
            logger.warning("high watermarks not known error=%s", error)
            self._read = {}
        self._written = dict(self._read)

    def take(self, topic: str, index: int) -> int:
        """What the file said of that log, UNKNOWN when it is not in it; for its next owner."""
        return self._read.pop((topic, index), UNKNOWN)

    async def write(self) -> None:
        """Writes down what the logs know by now, if anything changed. Raises OSError."""
        # What was read of logs that are not served yet is kept.
        offsets = dict(self._read)
        for log in self._logs():
            if log.high_watermark is not None and log.is_replicated:
                offsets[log.topic, log.index] = log.high_watermark()
        if offsets != self._written:
            await self._run(write_offsets, self._path, offsets, self._files)
            self._written = offsets
