"""A new store in the place of a lost one, also when it stops in the middle of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.unit.storage.ending_files import EndingFiles, Stopped
from tidelog.metadata.records import ChangeRecord, ClusterRecord, PartitionRecord, TopicRecord
from tidelog.metastore.local import LocalMetastore, load_image
from tidelog.metastore.replace import StoreState, examine, put_in_place, write_new

CLUSTER = "a" * 22
STAMP = "20260131T120000Z"
OLD: list[ChangeRecord] = [ClusterRecord(CLUSTER), TopicRecord(bytes(15) + b"\1", "old")]
NEW: list[ChangeRecord] = [ClusterRecord(CLUSTER), TopicRecord(bytes(15) + b"\2", "new")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.db"


def make(path: Path, records: list[ChangeRecord] = OLD) -> None:
    store = LocalMetastore(path)
    store.commit(records, 0)
    store.close()


def killed(path: Path) -> None:
    """A store as a killed process leaves it: what was committed last is in the journal only."""
    source = path.with_name("live.db")
    make(source)
    store = LocalMetastore(source)
    store.commit([TopicRecord(bytes(15) + b"\3", "in the journal")], 1)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(
            source.with_name(source.name + suffix).read_bytes()
        )
    store.close()
    source.unlink()


def topics(path: Path) -> set[str]:
    store = LocalMetastore(path)
    try:
        return set(load_image(store).topics)
    finally:
        store.close()


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


# ---- looking


def test_a_store_that_was_never_used_is_none(path: Path) -> None:
    assert examine(path).state is StoreState.MISSING
    path.write_bytes(b"")
    assert examine(path).state is StoreState.MISSING
    path.unlink()
    LocalMetastore(path).close()
    found = examine(path)
    assert (found.state, found.problem) == (StoreState.MISSING, "holds nothing")


def test_a_good_store_is_told_with_what_is_in_its_journal(path: Path) -> None:
    killed(path)
    before = content(path)
    found = examine(path)
    assert (found.state, found.problem) == (StoreState.GOOD, "")
    assert found.image is not None
    assert set(found.image.topics) == {"old", "in the journal"}
    assert content(path) == before  # not even its journal was replayed


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all, just text\n" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])


def zeroed(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096))


def unreadable(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entity SET value = '{'")
    db.close()


def no_text(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entity SET value = CAST(x'ff' AS TEXT)")
    db.close()


def contradiction(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM entity WHERE kind = 'topic'")
    db.close()


@pytest.mark.parametrize("damage", [garbage, cut, zeroed, unreadable, no_text, contradiction])
def test_a_damaged_store_is_told(path: Path, damage: object) -> None:
    topic_id = bytes(15) + b"\1"
    partitions = [PartitionRecord(topic_id, i, (1,), (1,), 1, 0, 0) for i in range(500)]
    make(path, [*OLD, *partitions])
    assert callable(damage)
    damage(path)
    before = content(path)
    found = examine(path)
    assert found.state is StoreState.DAMAGED, found
    assert str(path) in found.problem and ".check" not in found.problem
    assert content(path) == before


def test_a_store_of_a_later_version_is_not_lost(path: Path) -> None:
    make(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    db.close()
    found = examine(path)
    assert found.state is StoreState.UNUSABLE
    assert "format 2" in found.problem


# ---- replacing


def test_a_new_store_is_whole_before_it_has_its_name(path: Path) -> None:
    path.with_name("metadata.db.rebuild").write_bytes(b"what a stop left")
    path.with_name("metadata.db.rebuild-wal").write_bytes(b"and its journal")
    new = write_new(path, NEW)
    assert not path.exists()
    assert [file.name for file in path.parent.iterdir()] == [new.name]
    assert put_in_place(path, new, STAMP) is None
    assert topics(path) == {"new"}


def test_the_old_one_is_kept_with_its_journal(path: Path) -> None:
    killed(path)
    before = content(path)
    aside = put_in_place(path, write_new(path, NEW), STAMP)
    assert aside == path.with_name(f"metadata.db.set-aside-{STAMP}")
    assert aside.read_bytes() == before["metadata.db"]
    for suffix in ("-wal", "-shm"):
        kept = aside.with_name(aside.name + suffix)
        assert kept.read_bytes() == before["metadata.db" + suffix]
    assert topics(path) == {"new"}
    assert topics(aside) == {"old", "in the journal"}


def test_an_earlier_one_is_never_replaced(path: Path) -> None:
    kept = []
    for _ in range(3):
        path.write_bytes(b"damaged")
        kept.append(put_in_place(path, write_new(path, NEW), STAMP))
    assert len(set(kept)) == 3
    assert all(one is not None and one.read_bytes() == b"damaged" for one in kept[:1])


def test_a_stop_at_any_step_leaves_the_old_store_or_none_or_the_new_one(tmp_path: Path) -> None:
    seen = []
    for after in range(100):
        path = tmp_path / str(after) / "metadata.db"
        path.parent.mkdir()
        killed(path)
        new = write_new(path, NEW)
        try:
            put_in_place(path, new, STAMP, EndingFiles(after))
        except Stopped:
            journal = path.with_name("metadata.db-wal")
            if path.exists():
                # Either one, whole: the old one with its journal, the new one without any.
                expected = {"old", "in the journal"} if journal.exists() else {"new"}
                assert topics(path) == expected
                seen.append(min(expected))
            else:
                assert examine(path).state is StoreState.MISSING
                seen.append("none")
            # And once more brings it to its end, with the old one still there.
            put_in_place(path, write_new(path, NEW), STAMP)
            assert topics(path) == {"new"}
            stores = path.parent.glob("metadata.db.set-aside-*")
            assert b"".join(file.read_bytes() for file in stores)
            continue
        break
    assert after == len(seen) == 8
    assert set(seen) == {"in the journal", "none", "new"}
