"""The SQLite store keeps the contract, and tells a damaged file from a good one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.metastore.store_suite import StoreSuite
from tidelog.errors import StorageError
from tidelog.metadata.records import FeatureRecord, TopicRecord
from tidelog.metastore.contract import Metastore, MetastoreError
from tidelog.metastore.local import LocalMetastore


class TestLocalMetastore(StoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], Metastore]:
        return lambda: LocalMetastore(tmp_path / "metadata.db")


def test_every_commit_is_synced(tmp_path: Path) -> None:
    store = LocalMetastore(tmp_path / "m.db")
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    path.write_bytes(b"this is a text, and not a short one\n" * 400)
    with pytest.raises(MetastoreError, match=r"m\.db"):
        LocalMetastore(path)
    assert issubclass(MetastoreError, StorageError)


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MetastoreError):
        LocalMetastore(tmp_path / "none" / "m.db")


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    store.commit([TopicRecord(i.to_bytes(16, "big"), f"t{i}") for i in range(2000)], 0)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 12] = b"\xff" * 4096 * 10
    path.write_bytes(data)
    with pytest.raises(MetastoreError):
        LocalMetastore(path).load()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    LocalMetastore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    db.close()
    with pytest.raises(MetastoreError, match="format 2"):
        LocalMetastore(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entity SET value = '{'",
        'UPDATE entity SET value = \'{"type":"unheard-of"}\'',
        "UPDATE entity SET key = 'elsewhere'",
        "UPDATE entity SET value = x'00'",
        "DELETE FROM meta WHERE key = 'version'",
        "UPDATE meta SET value = 'many' WHERE key = 'version'",
    ],
)
def test_unreadable_rows_are_errors_and_not_silence(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    store.commit([FeatureRecord("f", 1)], 0)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
    with pytest.raises(MetastoreError):
        LocalMetastore(path).load()


def test_a_locked_store_is_an_error_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.metastore.local.METASTORE_BUSY_TIMEOUT_MS", 1)
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MetastoreError):
        store.commit([FeatureRecord("f", 1)], 0)
    other.execute("ROLLBACK")
    assert store.commit([FeatureRecord("f", 1)], 0) == 1
    other.close()
    store.close()


def test_uncommitted_work_of_a_dead_process_is_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    store.commit([FeatureRecord("f", 1)], 0)
    # Die in the middle of a transaction: the journal holds its rows, but no commit.
    store._db.execute("BEGIN IMMEDIATE")
    store._write([FeatureRecord("f", 2)], 1)
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    wal = Path(f"{path}-wal")
    Path(f"{copy}-wal").write_bytes(wal.read_bytes())
    survived = LocalMetastore(copy)
    assert survived.load() == (1, [FeatureRecord("f", 1)])
    survived.close()
    store.close()
