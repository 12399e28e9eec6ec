"""The SQLite store keeps the contract, and tells a damaged file from a good one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.metastore.store_suite import StoreSuite
from tidelog.errors import StorageError
from tidelog.metadata.records import FeatureRecord, PartitionRecord, TopicRecord
from tidelog.metastore.contract import DamagedStoreError, Metastore, MetastoreError
from tidelog.metastore.local import LocalMetastore, load_image


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
    with pytest.raises(DamagedStoreError, match=r"m\.db"):
        LocalMetastore(path)
    assert issubclass(MetastoreError, StorageError)


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MetastoreError) as failed:
        LocalMetastore(tmp_path / "none" / "m.db")
    assert not isinstance(failed.value, DamagedStoreError)


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    store.commit([TopicRecord(i.to_bytes(16, "big"), f"t{i}") for i in range(2000)], 0)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 12] = b"\xff" * 4096 * 10
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError):
        LocalMetastore(path).load()


def test_a_damaged_schema_whose_names_are_no_utf_8(tmp_path: Path) -> None:
    """SQLite quotes them in its message, which the driver then cannot read."""
    path = tmp_path / "m.db"
    LocalMetastore(path).close()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"tablemetameta", b"tablem\xff\x7fameta"))
    assert path.read_bytes() != data
    with pytest.raises(MetastoreError, match=r"m\.db"):
        LocalMetastore(path)


def test_a_damaged_length_that_asks_for_all_memory(tmp_path: Path) -> None:
    """In a cell of the first page, as fuzzing found it: SQLite takes it for a lack of memory."""
    path = tmp_path / "m.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA page_size=512")
    db.execute("VACUUM")
    db.close()
    LocalMetastore(path).close()
    data = bytearray(path.read_bytes())
    data[254:509] = b"\xff" * 14
    path.write_bytes(data)
    with pytest.raises(MetastoreError, match=r"m\.db cannot be opened: \w+"):
        LocalMetastore(path)


def test_the_largest_version_there_is(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    LocalMetastore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'version'", (2**63 - 1,))
    db.close()
    store = LocalMetastore(path)
    version, _ = store.load()
    with pytest.raises(MetastoreError, match="cannot be written"):
        store.commit([FeatureRecord("f", 1)], version)
    assert store.load() == (version, [])
    store.close()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    LocalMetastore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    db.close()
    with pytest.raises(MetastoreError, match="format 2") as failed:
        LocalMetastore(path)
    assert not isinstance(failed.value, DamagedStoreError)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entity SET value = '{'",
        'UPDATE entity SET value = \'{"type":"unheard-of"}\'',
        "UPDATE entity SET key = 'elsewhere'",
        "UPDATE entity SET value = x'00'",
        "UPDATE entity SET value = CAST(x'ff' AS TEXT)",
        "DELETE FROM meta WHERE key = 'format'",
        "UPDATE meta SET value = 'none' WHERE key = 'format'",
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
    with pytest.raises(DamagedStoreError):
        LocalMetastore(path).load()


def test_a_locked_store_is_an_error_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.metastore.local.METASTORE_BUSY_TIMEOUT_MS", 1)
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MetastoreError) as failed:
        store.commit([FeatureRecord("f", 1)], 0)
    assert not isinstance(failed.value, DamagedStoreError)
    other.execute("ROLLBACK")
    assert store.commit([FeatureRecord("f", 1)], 0) == 1
    other.close()
    store.close()


def test_records_that_contradict_each_other_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    store = LocalMetastore(path)
    store.commit([FeatureRecord("f", 1)], 0)
    image = load_image(store)
    assert (image.version, dict(image.features)) == (1, {"f": 1})
    store.commit([PartitionRecord(bytes(16), 0, (1,), (1,), 1, 0, 0)], 1)
    with pytest.raises(DamagedStoreError, match=r"m\.db is damaged"):
        load_image(store)
    store.close()


def test_a_used_store_is_never_in_its_journal_alone(tmp_path: Path) -> None:
    """A start relies on it: an empty file is a lost store, whatever journal lies beside it."""
    store = LocalMetastore(tmp_path / "m.db")
    assert (tmp_path / "m.db").stat().st_size > 0
    store.commit([FeatureRecord("f", 1)], 0)
    alone = tmp_path / "alone.db"
    Path(f"{alone}-wal").write_bytes(Path(f"{tmp_path / 'm.db'}-wal").read_bytes())
    store.close()
    store = LocalMetastore(alone)
    assert store.load() == (0, [])  # SQLite throws the journal away
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
