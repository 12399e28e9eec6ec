"""The metadata of one host in one SQLite file: nothing to install, nothing to run.

Opened by the supervisor alone and used on its one store thread. Never touched by a worker, and
never opened before the zygote is forked: SQLite must not be carried over a fork.

| table | columns | content |
|---|---|---|
| entity | kind TEXT, key TEXT, value TEXT; primary key (kind, key), WITHOUT ROWID | latest record
of every key as JSON |
| meta | key TEXT primary key, value INTEGER | `format` (1), `version` (transactions so far) |

Journal: WAL with synchronous=FULL, so that a commit is in the journal and synced when it returns.
The file is SQLite's own: a power cut leaves either the state before a transaction or the one after
it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tidelog.errors import InvariantError
from tidelog.limits import METASTORE_BUSY_TIMEOUT_MS
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    RemoveTopicRecord,
    decode_record,
    encode_record,
    is_removal,
)
from tidelog.metastore.contract import (
    DamagedStoreError,
    Metastore,
    MetastoreError,
    VersionConflictError,
)

FORMAT: Final = 1

#: What SQLite keeps beside the file while it is open, and after its process was killed. The
#: journal belongs to its file: beside any other one it does damage.
JOURNAL_SUFFIX: Final = "-wal"
SHARED_MEMORY_SUFFIX: Final = "-shm"

#: Primary result codes by which SQLite says that the file itself is bad.
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS entity (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
    " PRIMARY KEY (kind, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    f"INSERT OR IGNORE INTO meta VALUES ('format', {FORMAT}), ('version', 0)",
)

#: What the driver raises for a damaged file: a message of SQLite that quotes it may be no UTF-8, a
#: length in it may ask for more memory than there is, a number may be the largest that there is.
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError, OverflowError)


class LocalMetastore(Metastore):
    """See the module. May be made on one thread and used on another, but on one at a time."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises DamagedStoreError when it is no store, MetastoreError
        when it cannot be used for another reason.
        """
        self.path = path
        try:
            self._db = sqlite3.connect(
                path,
                timeout=METASTORE_BUSY_TIMEOUT_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._failure("cannot be opened", error) from error
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._prepare()
        except _ERRORS as error:
            self._db.close()
            raise self._failure("cannot be opened", error) from error
        except MetastoreError:
            self._db.close()
            raise

    def load(self) -> tuple[int, list[ChangeRecord]]:
        try:
            self._db.execute("BEGIN")
            try:
                version = self._version()
                rows = self._db.execute("SELECT kind, key, value FROM entity").fetchall()
            finally:
                self._db.execute("ROLLBACK")
        except _ERRORS as error:
            raise self._failure("cannot be read", error) from error
        return version, [self._decode(*row) for row in rows]

    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(records, expected_version)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except _ERRORS as error:
            self._roll_back()
            raise self._failure("cannot be written", error) from error
        return expected_version + 1

    def close(self) -> None:
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise self._failure("cannot be closed", error) from error

    def _prepare(self) -> None:
        """Makes the tables of a new file; refuses a file of a later format or a damaged one."""
        check = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if check != ("ok",):
            problem = " ".join(str(check and check[0]).split())
            raise DamagedStoreError(f"metadata store {self.path} is damaged: {problem}")
        tables = {row[0] for row in self._db.execute("SELECT name FROM sqlite_schema")}
        if not {"entity", "meta"} <= tables:
            # One transaction, so that a crash here leaves a file that is made anew.
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute("COMMIT")
        found = self._db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if found is None or not isinstance(found[0], int):
            raise DamagedStoreError(f"metadata store {self.path} has no format")
        if found[0] != FORMAT:
            raise MetastoreError(f"metadata store {self.path} has format {found[0]}, not {FORMAT}")

    def _version(self) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        if row is None or not isinstance(row[0], int):
            raise DamagedStoreError(f"metadata store {self.path} has no version")
        return row[0]

    def _write(self, records: Sequence[ChangeRecord], expected_version: int) -> None:
        version = self._version()
        if version != expected_version:
            raise VersionConflictError(
                f"metadata store {self.path} is at version {version}, not {expected_version}"
            )
        for record in records:
            kind, key = record.store_key
            if not is_removal(record):
                self._db.execute(
                    "INSERT OR REPLACE INTO entity VALUES (?, ?, ?)",
                    (kind, key, encode_record(record).decode()),
                )
                continue
            self._db.execute("DELETE FROM entity WHERE kind = ? AND key = ?", (kind, key))
            if isinstance(record, RemoveTopicRecord):
                below, prefix = record.ends
                # A range over the primary key; "0" is the character after "/", with which the
                # prefix ends.
                self._db.execute(
                    "DELETE FROM entity WHERE kind = ? AND key >= ? AND key < ?",
                    (below, prefix, prefix[:-1] + "0"),
                )
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'version'", (expected_version + 1,))

    def _decode(self, kind: object, key: object, value: object) -> ChangeRecord:
        try:
            if not isinstance(value, str):
                raise ValueError("no text")
            record = decode_record(value)
        except (msgspec.MsgspecError, ValueError) as error:
            raise self._failure(f"holds an unreadable {kind} {key}", error) from error
        if record.store_key != (kind, key):
            raise DamagedStoreError(
                f"metadata store {self.path} holds {record.store_key} under {kind} {key}"
            )
        return record

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                # The next BEGIN fails and says so; there is nothing better to do here.
                return

    def _failure(self, what: str, error: Exception) -> MetastoreError:
        text = f"metadata store {self.path} {what}: {str(error) or type(error).__name__}"
        return DamagedStoreError(text) if _is_damage(error) else MetastoreError(text)


def load_image(store: LocalMetastore) -> MetadataImage:
    """All that the store holds. Raises MetastoreError; DamagedStoreError also when its records
    contradict each other.
    """
    version, records = store.load()
    try:
        return MetadataImage.from_records(records, version)
    except InvariantError as error:
        raise DamagedStoreError(f"metadata store {store.path} is damaged: {error}") from error


def _is_damage(error: Exception) -> bool:
    """Whether the content is bad, and not the moment (locked, full, no permission)."""
    if not isinstance(error, sqlite3.Error):
        return True  # read, and found to be no record
    # The low byte is the primary code. Without any code it is Python that failed: a text that is
    # no UTF-8.
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE
