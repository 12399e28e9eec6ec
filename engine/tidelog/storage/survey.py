"""What a node's folder tells about its logs without the metadata: topics, ids, epochs, ends.

For the command that makes a lost metadata store anew, while no broker runs. Reads only, and opens
no log: of each one its `partition.metadata`, its leader epochs, its producer snapshots, and the
batch headers of its last segment that has some. A log that cannot be read through is reported and
still found: a disk error here must not make a topic disappear.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from tidelog._native.producer_state import ProducerStates
from tidelog._native.scan import SegmentScanner
from tidelog.errors import TidelogError
from tidelog.storage.directory import LogFolder, find_folders
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT, read_leader_epochs
from tidelog.storage.partition_metadata import PARTITION_METADATA, read_partition_metadata
from tidelog.storage.producer_snapshot import read_snapshot
from tidelog.storage.segment_files import LOG_SUFFIX, SNAPSHOT_SUFFIX, parse_name, path_of
from tidelog.storage.strays import holds_log


@dataclass(slots=True)
class SurveyedLog:
    """One log. An epoch or producer id of -1: none was found."""

    folder: str
    topic: str
    index: int
    topic_id: bytes | None  # None: no readable partition.metadata
    made_ms: int = 0  # when partition.metadata was written, which is when the log was made
    latest_epoch: int = -1
    log_end_offset: int = 0
    highest_producer_id: int = -1
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Survey:
    """A node's folder. `others`: folders in it that are no logs in use."""

    logs: list[SurveyedLog] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def survey_directory(
    directory: str, files: Files = SYSTEM_FILES, on_log: Callable[[], object] | None = None
) -> Survey:
    """on_log is called after each log. Raises OSError when the folder itself cannot be read."""
    survey = Survey()
    for folder in find_folders(files, directory):
        path = os.path.join(directory, folder.name)
        if not folder.topic or not holds_log(files, path):
            survey.others.append(folder.name)
            continue
        survey.logs.append(survey_log(path, folder, files))
        if on_log is not None:
            on_log()
    return survey


def survey_log(path: str, folder: LogFolder, files: Files = SYSTEM_FILES) -> SurveyedLog:
    """Never raises for what is wrong with the log: that is among its problems."""
    found = SurveyedLog(folder.name, folder.topic, folder.index, folder.topic_id)
    for step in (_read_identity, _read_epochs, _read_files):
        try:
            step(path, found, files)
        except (OSError, TidelogError) as error:
            found.problems.append(str(error))
    return found


def _read_identity(path: str, found: SurveyedLog, files: Files) -> None:
    name = os.path.join(path, PARTITION_METADATA)
    if not files.exists(name):
        found.problems.append(f"there is no {PARTITION_METADATA}")
        return
    found.topic_id = read_partition_metadata(name, files)
    fd = files.open(name)
    try:
        found.made_ms = files.modified_ms(fd)
    finally:
        files.close(fd)


def _read_epochs(path: str, found: SurveyedLog, files: Files) -> None:
    epochs = read_leader_epochs(os.path.join(path, LEADER_EPOCH_CHECKPOINT), files)
    found.latest_epoch = max(found.latest_epoch, epochs.latest_epoch)


def _read_files(path: str, found: SurveyedLog, files: Files) -> None:
    names = [entry.name for entry in files.list_directory(path) if entry.is_file]
    parsed = [one for name in names if (one := parse_name(name))]
    for offset in sorted(base for base, suffix in parsed if suffix == SNAPSHOT_SUFFIX):
        try:
            entries = read_snapshot(path_of(path, offset, SNAPSHOT_SUFFIX), files)
        except (OSError, TidelogError) as error:
            found.problems.append(str(error))
            continue
        for entry in entries:
            found.highest_producer_id = max(found.highest_producer_id, entry[0])
    bases = sorted((base for base, suffix in parsed if suffix == LOG_SUFFIX), reverse=True)
    # Epochs never go back, so the last batches hold the highest; a segment just rolled has none.
    for base in bases:
        if _read_segment(path, base, found, files):
            return


def _read_segment(path: str, base: int, found: SurveyedLog, files: Files) -> bool:
    """Walks over the headers. Returns whether there was a batch."""
    name = path_of(path, base, LOG_SUFFIX)
    producers = ProducerStates(verify_transactions=False)
    epochs: list[tuple[int, int]] = []
    fd = files.open(name)
    try:
        size = files.size(fd)
        scanner = SegmentScanner(fd, base, size, verify_from=size)
        scanner.run(producers=producers, epochs=epochs)
    finally:
        files.close(fd)
        # Also of a log in which a producer's batches make no sense.
        found.latest_epoch = max([found.latest_epoch, *(epoch for epoch, _ in epochs)])
    if scanner.io_errno:
        raise OSError(scanner.io_errno, os.strerror(scanner.io_errno), name)
    found.log_end_offset = max(found.log_end_offset, base, scanner.next_offset)
    ids = (producer.producer_id for producer in producers.active())
    found.highest_producer_id = max([found.highest_producer_id, *ids])
    return scanner.batches > 0
