"""What a store of cluster metadata promises. One test suite (tests/unit/metastore) is run against
every store.

The controller's runtime owns the store and calls it from one thread at a time, never from an event
loop: every method may wait for a disk or a network. No other part of Tidelog talks to a store.

A store keeps the latest record of every key (`ChangeRecord.store_key`) and one version number that
counts the transactions. It knows nothing about what the records mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tidelog.errors import StorageError
from tidelog.metadata.records import ChangeRecord


class MetastoreError(StorageError):
    """The store cannot be read or written, or holds something unreadable. Nothing was changed."""


class DamagedStoreError(MetastoreError):
    """What is stored cannot be made sense of, and will not be by trying again."""


class VersionConflictError(MetastoreError):
    """Somebody else has written: the caller's view is old. It must load again before it decides
    anything.
    """


class Metastore(ABC):
    """A place where the metadata survives.

    Guarantees, by method:

    - `load` reads one consistent state: all of a transaction or nothing of it.
    - `commit` is a compare-and-set and atomic: it takes effect only if the store still stands at
      the
      expected version, and then all its records do. When it returns, they survive the loss of
      power. When it raises VersionConflictError or MetastoreError, none of them did. (A store
      behind a network may not know; it finds out before it raises, or raises MetastoreError only
      after it can no longer take effect.)
    - `close` may be called twice and never loses what was committed.
    """

    @abstractmethod
    def load(self) -> tuple[int, list[ChangeRecord]]:
        """The version (0 when nothing was ever committed) and one record for each key, in any
        order.

        Raises MetastoreError; DamagedStoreError when it is certain that the content is lost.
        """

    @abstractmethod
    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        """Writes the records in order as one transaction; returns the new version,
        expected_version + 1.

        Raises VersionConflictError when the store is at another version, MetastoreError when it
        failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives up files and connections."""
