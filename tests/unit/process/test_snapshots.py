"""The metadata in frames of bounded size, and together again."""

from __future__ import annotations

import pytest

from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import FeatureRecord
from tidelog.process.snapshots import SnapshotTaker, snapshot_frames


@pytest.mark.parametrize(("records", "frames"), [(0, 1), (3, 1), (4, 1), (5, 2), (12, 3)])
def test_an_image_comes_out_as_it_went_in(
    monkeypatch: pytest.MonkeyPatch, records: int, frames: int
) -> None:
    monkeypatch.setattr("tidelog.process.snapshots.SNAPSHOT_FRAME_RECORDS", 4)
    image = MetadataImage.from_records([FeatureRecord(f"f{n}", 1) for n in range(records)], 7)
    taker = SnapshotTaker()
    for _ in range(2):
        taken = [taker.take(part) for part in snapshot_frames(image)]
        assert len(taken) == frames
        assert taken[:-1] == [None] * (frames - 1)
        assert taken[-1] == image
