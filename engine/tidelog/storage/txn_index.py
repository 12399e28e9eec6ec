"""`.txnindex` of a segment: the aborted transactions whose marker lies in the segment (KIP-98).

Format (Kafka's, version 0; big endian), 34 bytes an entry, ascending by last offset:

| bytes | field |
|---|---|
| 2 | version (0) |
| 8 | producer id |
| 8 | first offset of the transaction |
| 8 | last offset: the marker's |
| 8 | last stable offset when the marker was written |

The file exists only once it has an entry. Owned by the log whose segment it is: entries are added
while markers are appended or replayed, and read for fetches of committed records only. Everything
but `append`, `collect` and the pure functions waits for the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from tidelog.errors import InvariantError, StorageError
from tidelog.storage.files import SYSTEM_FILES, Files

TXN_INDEX_SUFFIX = ".txnindex"
TXN_INDEX_VERSION = 0
TXN_ENTRY_BYTES = 34

_ENTRY = struct.Struct(">hqqqq")


class CorruptTxnIndexError(StorageError):
    """A transaction index that cannot be used; recovery builds it anew."""

    def __init__(self, path: str, entry: int, problem: str) -> None:
        super().__init__(f"{path}, entry {entry}: {problem}")
        self.path = path
        self.entry = entry
        self.problem = problem


class AbortedTxn(NamedTuple):
    """An aborted transaction; `last_offset` is its marker's."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class AbortedTxns(NamedTuple):
    """What one segment's index says; complete: no later segment can have more."""

    aborted: list[AbortedTxn]
    is_complete: bool


def encode_txn(txn: AbortedTxn) -> bytes:
    """One entry."""
    return _ENTRY.pack(TXN_INDEX_VERSION, *txn)


def decode_txns(data: bytes, path: str, base_offset: int = 0) -> list[AbortedTxn]:
    """All entries of a file. Raises CorruptTxnIndexError."""
    if len(data) % TXN_ENTRY_BYTES:
        raise CorruptTxnIndexError(path, len(data) // TXN_ENTRY_BYTES, "the last entry is cut")
    entries: list[AbortedTxn] = []
    for number, (version, *fields) in enumerate(_ENTRY.iter_unpack(data)):
        txn = AbortedTxn(*fields)
        if version != TXN_INDEX_VERSION:
            raise CorruptTxnIndexError(path, number, f"version {version}")
        if not 0 <= txn.first_offset <= txn.last_offset or txn.last_offset < base_offset:
            raise CorruptTxnIndexError(path, number, f"impossible offsets {txn}")
        if entries and txn.last_offset <= entries[-1].last_offset:
            raise CorruptTxnIndexError(path, number, "last offsets must ascend")
        entries.append(txn)
    return entries


def collect_aborted(
    entries: Iterable[AbortedTxn], fetch_offset: int, upper_bound_offset: int
) -> AbortedTxns:
    """Transactions with records in [fetch_offset, upper_bound_offset)."""
    found = []
    for txn in entries:
        if txn.last_offset >= fetch_offset and txn.first_offset < upper_bound_offset:
            found.append(txn)
        # Everything that begins below this entry's last stable offset was decided by then.
        if txn.last_stable_offset >= upper_bound_offset:
            return AbortedTxns(found, True)
    return AbortedTxns(found, False)


class TxnIndex:
    """The index of one segment. Entries stay in memory: aborted transactions are few.

    append() and collect() are the loop's, write() a helper's, which may run at the same time; all
    else belongs to whoever has the segment for itself.
    """

    def __init__(self, path: str, base_offset: int, files: Files = SYSTEM_FILES) -> None:
        self.path = path
        self.base_offset = base_offset
        self._files = files
        self._entries: list[AbortedTxn] = []
        self._written = 0
        self._synced = 0
        self._made = False  # the file is there

    @classmethod
    def open(cls, path: str, base_offset: int, files: Files = SYSTEM_FILES) -> TxnIndex:
        """Reads the file if there is one. Raises CorruptTxnIndexError, OSError."""
        index = cls(path, base_offset, files)
        try:
            data = files.read(path)
        except FileNotFoundError:
            return index
        index._made = True
        index._entries = decode_txns(data, path, base_offset)
        index._written = index._synced = len(index._entries)
        return index

    @property
    def entries(self) -> list[AbortedTxn]:
        return list(self._entries)

    @property
    def pending(self) -> bool:
        """Whether there are entries that were not synced."""
        return self._synced < len(self._entries)

    def append(self, txn: AbortedTxn) -> None:
        """Adds an entry in memory; write() writes it. Last offsets ascend (InvariantError)."""
        if self._entries and txn.last_offset <= self._entries[-1].last_offset:
            raise InvariantError(f"{txn} does not follow {self._entries[-1]} in {self.path}")
        self._entries.append(txn)

    def collect(self, fetch_offset: int, upper_bound_offset: int) -> AbortedTxns:
        return collect_aborted(self._entries, fetch_offset, upper_bound_offset)

    def write(self, *, durable: bool = True) -> bool:
        """Writes what append() added. Returns whether the file was made. Raises OSError."""
        pending = self._entries[self._synced :]
        if not pending:
            return False
        made = not self._made
        fd = self._files.open_or_create(self.path)
        try:
            self._made = True
            # Also what was written before and not synced: a sync that failed says nothing of it.
            data = b"".join(encode_txn(txn) for txn in pending)
            self._files.write_at(fd, self._synced * TXN_ENTRY_BYTES, data)
            self._written = max(self._written, self._synced + len(pending))
            if durable:
                self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._synced += len(pending)
        return made

    def truncate_to(self, offset: int) -> None:
        """Entries whose marker is at or behind `offset` go, durably: after a power cut they would
        speak of what stands at their offsets by then. Raises OSError.
        """
        keep = len(self._entries)
        while keep and self._entries[keep - 1].last_offset >= offset:
            keep -= 1
        del self._entries[keep:]
        if keep < self._written:
            fd = self._files.open(self.path)
            try:
                self._files.truncate(fd, keep * TXN_ENTRY_BYTES)
                self._files.sync(fd)
            finally:
                self._files.close(fd)
            self._written = keep
        self._synced = min(self._synced, keep)

    def moved_to(self, path: str) -> None:
        """The segment's folder was renamed."""
        self.path = path
