"""Tests of the dump of single files, sound ones and broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch, filled_segment
from tidelog.cli.log_files import Line, Options, UnknownFileError, dump, next_batch
from tidelog.protocol.records import encode_key, encode_versioned
from tidelog.protocol.records.group import OffsetCommitKey, OffsetCommitValue
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.storage.checkpoints import RECOVERY_POINT_CHECKPOINT, write_offsets
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.producer_snapshot import encode_snapshot
from tidelog.storage.segment_files import trim_segment

ALL = Options(records=True)


def lines(path: Path, options: Options = ALL) -> list[Line]:
    return list(dump(path, options))


def log_of(tmp_path: Path, *batches: bytes | bytearray) -> Path:
    path = tmp_path / f"{0:020d}.log"
    path.write_bytes(b"".join(batches))
    return path


def test_batches_and_records(tmp_path: Path) -> None:
    path = log_of(
        tmp_path,
        batch(2, codec=1),
        batch(1, base_offset=2, producer=Producer(9, 1, 5)),
        end_txn_marker(
            is_commit=True, producer_id=9, producer_epoch=1, coordinator_epoch=4, base_offset=3,
            timestamp=NOW,
        ),
    )  # fmt: skip
    found = lines(path)
    assert [line.kind.strip() for line in found] == [
        "batch", "record", "record", "batch", "record", "batch", "marker",
    ]  # fmt: skip
    assert found[0].fields["compresscodec"] == "gzip"
    assert found[0].fields["producerId"] is None
    assert (found[3].fields["producerId"], found[3].fields["baseSequence"]) == (9, 5)
    assert found[3].fields["position"] == found[0].fields["size"]
    assert found[1].fields["value"] == repr("x" * 10)
    assert found[6].fields == {"offset": 3, "type": "COMMIT", "coordinatorEpoch": 4}
    assert "producerId" not in str(found[0])
    assert len(lines(path, Options())) == 3
    assert not any(line.broken for line in found)


def test_records_of_internal_topics(tmp_path: Path) -> None:
    key = encode_key(1, OffsetCommitKey(group="g", topic="t", partition=3))
    value = encode_versioned(OffsetCommitValue(offset=77), 3)
    path = log_of(tmp_path, build_batch([NewRecord(NOW, key, value), NewRecord(NOW, b"??", None)]))
    _, first, second = lines(path, Options(records=True, decoder="offsets"))
    assert (first.fields["key"].group, first.fields["value"].offset) == ("g", 77)
    assert "undecoded" in second.fields


def test_what_is_broken_is_told_and_what_follows_is_read(tmp_path: Path) -> None:
    whole = [bytes(batch(base_offset=i)) for i in range(4)]
    no_header = b"\x00" * 16 + b"\x07" + whole[1][17:]
    wrong_crc = whole[2][:-1] + b"\xff"
    found = lines(log_of(tmp_path, whole[0], no_header, wrong_crc, whole[3], whole[0][:30]))
    kinds = [(line.kind.strip(), line.broken) for line in found]
    assert kinds == [
        ("batch", False), ("record", False),
        ("BROKEN", True),  # up to the next one with a right checksum
        ("batch", False), ("record", False),
        ("BROKEN", True),
    ]  # fmt: skip
    assert found[2].fields["position"] == len(whole[0])
    assert found[2].fields["bytes"] == len(no_header) + len(wrong_crc)
    assert found[3].fields["baseOffset"] == 3
    assert "30 bytes" in found[5].fields["problem"]


def test_a_wrong_checksum_alone(tmp_path: Path) -> None:
    bad = bytes(batch())[:-1] + b"\xff"
    found = lines(log_of(tmp_path, bad, batch(base_offset=1)))
    assert [line.kind.strip() for line in found] == ["batch", "BROKEN", "batch", "record"]
    assert found[0].fields["isvalid"] is False


def test_the_search_goes_over_its_own_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.cli.log_files.SEARCH_BYTES", 50)
    one = bytes(batch())
    for gap in range(30, 130, 7):
        path = log_of(tmp_path, b"\x02" * gap, one)
        with path.open("rb") as file:
            assert next_batch(file, 0, gap + len(one)) == gap
            assert next_batch(file, gap + 1, gap + len(one)) == gap + len(one)


def test_indexes(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 20)
    path = Path(segment.log_path)
    active = lines(path.with_suffix(".index"))
    assert len(active) == segment.offset_index.entries > 2, "zeros are no entries"
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    assert lines(path.with_suffix(".index")) == active
    assert lines(path.with_suffix(".timeindex"))[0].fields["timestamp"] > NOW
    with path.with_suffix(".index").open("ab") as file:
        file.write(b"abc")
    assert lines(path.with_suffix(".index"))[-1].broken


def test_small_files(tmp_path: Path) -> None:
    snapshot = tmp_path / f"{9:020d}.snapshot"
    snapshot.write_bytes(encode_snapshot([(1, 2, 3, 4, 5, 6, 7, -1)]))
    (found,) = lines(snapshot)
    assert (found.fields["producerId"], found.fields["lastSequence"]) == (1, 3)
    snapshot.write_bytes(b"rubbish")
    assert [line.broken for line in lines(snapshot)] == [True]
    checkpoint = tmp_path / RECOVERY_POINT_CHECKPOINT
    write_offsets(str(checkpoint), {("t", 1): 5})
    assert str(lines(checkpoint)[0]) == "offset topic=t partition=1 offset=5"
    with pytest.raises(FileNotFoundError):
        lines(tmp_path / "leader-epoch-checkpoint")
    (tmp_path / "other").write_text("?")
    with pytest.raises(UnknownFileError):
        lines(tmp_path / "other")
