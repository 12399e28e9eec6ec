"""The whole metadata over a control channel: cut into frames, and put together again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tidelog.limits import SNAPSHOT_FRAME_RECORDS
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.process.messages import Snapshot


def snapshot_frames(image: MetadataImage) -> Iterator[Snapshot]:
    """The image in messages of bounded size; the last one is marked, and there is always one."""
    records = image.to_records()
    part = tuple(islice(records, SNAPSHOT_FRAME_RECORDS))
    while True:
        following = tuple(islice(records, SNAPSHOT_FRAME_RECORDS))
        yield Snapshot(image.version, part, not following)
        if not following:
            return
        part = following


class SnapshotTaker:
    """Takes the messages of snapshots, one after the other."""

    def __init__(self) -> None:
        self._records: list[ChangeRecord] = []

    def take(self, part: Snapshot) -> MetadataImage | None:
        """The image, with the last part of it. Raises InvariantError for records that contradict
        each other.
        """
        self._records.extend(part.records)
        if not part.last:
            return None
        records, self._records = self._records, []
        return MetadataImage.from_records(records, part.version)
