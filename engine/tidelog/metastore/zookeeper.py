"""The metadata of a cluster of several hosts, as a log of transactions in ZooKeeper.

Every host may read it; the holder of the controller's seat writes it, from the supervisor's store
thread, one call at a time. Nothing here knows how ZooKeeper is spoken to (`tree.py`).

| znode | content |
|---|---|
| /controller_epoch | its version is checked by every write |
| /metadata/head | JSON, `Head`: the version, and where the state is read |
| /metadata/log/VERSION | MessagePack, `Entry`: the transaction that made this version |
| /metadata/parts/NAME/N | a transaction that is too large for its own znode, cut |
| /metadata/snapshots/NAME/N | the state at a version, as a list of records, cut |

VERSION has 20 digits; a NAME is VERSION-EPOCH-RANDOM, so that what was never finished can be told
from what is used; N has 6 digits. Each one but the first begins with its checksum (`tree.seal`),
and none but the first two is ever changed.

A commit is one multi: check the seat's epoch, set the head if it is the one that was read, create
the log's znode. What a head of any time refers to is there until a later head does not, so whoever
reads it and then finds something missing reads the head anew.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tidelog.limits import (
    ENSEMBLE_RACES_MAX,
    ENSEMBLE_REQUESTS_MAX,
    METADATA_LOG_BYTES_MIN,
    METADATA_LOG_TRANSACTIONS_MAX,
    METADATA_PARTS_MAX,
    METADATA_ZNODE_BYTES_MAX,
)
from tidelog.metadata.records import ChangeRecord, decode_changes, encode_changes
from tidelog.metastore.contract import DamagedStoreError, MetastoreError, VersionConflictError
from tidelog.metastore.ensemble import EnsembleError, Seat, SeatLostError, SharedMetastore
from tidelog.metastore.fold import Fold
from tidelog.metastore.tree import (
    Check,
    Create,
    NoAnswerError,
    NotDoneError,
    Operation,
    SetData,
    Tree,
    Why,
    Znode,
    seal,
    unseal,
)

_log = logging.getLogger(__name__)

FORMAT: Final = 1

EPOCH: Final = "/controller_epoch"
ROOT: Final = "/metadata"
HEAD: Final = ROOT + "/head"
LOG: Final = ROOT + "/log"
PARTS: Final = ROOT + "/parts"
SNAPSHOTS: Final = ROOT + "/snapshots"

#: What a checksum, and the rest of an entry beside its records, may take of a znode.
_OVERHEAD_BYTES: Final = 512
_BODY_BYTES_MAX: Final = METADATA_ZNODE_BYTES_MAX - _OVERHEAD_BYTES


class Head(msgspec.Struct, frozen=True):
    """Where the state is: the snapshot, and the log from the version after it to `version`.

    The sizes are those of the records, in bytes; log_bytes of all transactions since the snapshot.
    """

    format: int
    version: int
    snapshot: str | None = None
    snapshot_version: int = 0
    snapshot_parts: int = 0
    snapshot_bytes: int = 0
    log_bytes: int = 0


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One transaction: its records, or the folder of its parts and their number."""

    version: int
    epoch: int
    size_bytes: int
    records: bytes
    parts: str | None
    part_count: int


_head_decoder: Final = msgspec.json.Decoder(Head)
_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)


class _MissingError(Exception):
    """A znode to which a head refers is not there (any more)."""


def first_znodes() -> list[Create]:
    """What an empty store consists of, to be created at once."""
    head = seal(HEAD, msgspec.json.encode(Head(FORMAT, 0)))
    return [*(Create(path) for path in (ROOT, LOG, PARTS, SNAPSHOTS)), Create(HEAD, head)]


class ZooKeeperMetastore(SharedMetastore):
    """See the module. fence: the version of /controller_epoch with which the seat was won, None
    when the host has given it up, or never had it.
    """

    def __init__(self, tree: Tree, seat: Seat, fence: Callable[[], int | None]) -> None:
        self._tree = tree
        self._seat = seat
        self._fence = fence
        self._head: tuple[Head, int] | None = None  # as last read or written, with its version
        self._cleaned = False
        self._closed = False

    def load(self) -> tuple[int, list[ChangeRecord]]:
        self._require_open()
        for _ in range(ENSEMBLE_RACES_MAX):
            head, head_version = self._read_head()
            try:
                state = self._read_state(head)
            except _MissingError as error:
                if self._read_head()[1] == head_version:
                    raise DamagedStoreError(f"znode {error} is missing") from error
                continue
            self._head = head, head_version
            return head.version, list(state)
        raise MetastoreError("the metadata changes faster than it can be read")

    def commit(self, records: Sequence[ChangeRecord], expected_version: int) -> int:
        self._require_open()
        data = encode_changes(records)
        fence = self._seat_fence()
        version = expected_version + 1
        if len(data) > _BODY_BYTES_MAX:
            name = self._name(version)
            count = self._write_parts(f"{PARTS}/{name}", data, fence)
            entry = Entry(version, self._seat.epoch, len(data), b"", name, count)
        else:
            entry = Entry(version, self._seat.epoch, len(data), data, None, 0)
        path = _log_path(version)
        create = Create(path, seal(path, msgspec.msgpack.encode(entry)))

        def changed(head: Head) -> Head:
            log_bytes = head.log_bytes + len(data)
            return msgspec.structs.replace(head, version=version, log_bytes=log_bytes)

        self._set_head(expected_version, fence, changed, create)
        self._tidy(fence)
        return version

    def adopt(self, records: Sequence[ChangeRecord], version: int) -> None:
        self._require_open()
        data = encode_changes(records)
        fence = self._seat_fence()
        if self._read_head()[0].version:
            raise self._conflict(fence, "the metadata store is not empty")
        name = self._name(version)
        parts = self._write_parts(f"{SNAPSHOTS}/{name}", data, fence)
        self._set_head(0, fence, lambda _: Head(FORMAT, version, name, version, parts, len(data)))

    def close(self) -> None:
        self._closed = True

    # ---- writing

    def _set_head(
        self,
        expected_version: int,
        fence: int,
        changed: Callable[[Head], Head],
        *also: Create,
    ) -> None:
        """The multi of a commit. What fails before it is sent has changed nothing."""
        for _ in range(ENSEMBLE_RACES_MAX):
            fresh = self._head is None
            head, head_version = self._head or self._read_head()
            self._head = None
            if head.version != expected_version:
                if not fresh:
                    continue  # another store of this seat may have written
                raise self._conflict(
                    fence, f"the metadata is at version {head.version}, not {expected_version}"
                )
            after = changed(head)
            operations: list[Operation] = [
                Check(EPOCH, fence),
                SetData(HEAD, seal(HEAD, msgspec.json.encode(after)), head_version),
                *also,
            ]
            try:
                versions = self._tree.multi(operations)
            except NoAnswerError as error:
                raise SeatLostError(f"what became of a commit cannot be known: {error}") from error
            except NotDoneError as error:
                if error.index == 1 and error.why is Why.VERSION:
                    continue  # a snapshot may have been written; the version tells
                raise self._refused(error) from error
            self._head = after, versions[1]
            return
        raise MetastoreError("the metadata changes faster than it can be written")

    def _refused(self, error: NotDoneError) -> MetastoreError:
        if error.index == 0 and error.why is Why.VERSION:
            return SeatLostError("another host has taken the controller's seat")
        if error.why in (Why.MISSING, Why.EXISTS):
            return DamagedStoreError(f"the metadata in ZooKeeper is damaged: {error}")
        return error

    def _conflict(self, fence: int, text: str) -> VersionConflictError:
        """Whose fault it is that the version is another."""
        (epoch,) = self._tree.get_many([EPOCH])
        if epoch is None:
            raise DamagedStoreError(f"znode {EPOCH} is missing")
        return SeatLostError(text) if epoch.version != fence else VersionConflictError(text)

    def _write_parts(self, folder: str, data: bytes, fence: int) -> int:
        """Cuts the data into znodes that nothing refers to yet; returns their number."""
        pieces = [
            data[start : start + _BODY_BYTES_MAX]
            for start in range(0, max(len(data), 1), _BODY_BYTES_MAX)
        ]
        if len(pieces) > METADATA_PARTS_MAX:
            raise MetastoreError(f"{len(data)} bytes are too many for one transaction")
        paths = _part_paths(folder, len(pieces))
        parts = [Create(path, seal(path, piece)) for path, piece in zip(paths, pieces, strict=True)]
        try:
            self._tree.create_many([Create(folder), *parts])
        except NotDoneError as error:
            # Its folder was taken away: by who has the seat now.
            raise self._conflict(fence, f"the metadata cannot be written: {error}") from error
        return len(parts)

    def _name(self, version: int) -> str:
        return f"{version:020}-{self._seat.epoch:010}-{secrets.token_hex(8)}"

    def _seat_fence(self) -> int:
        fence = self._fence()
        if fence is None:
            raise SeatLostError("this host does not have that seat of the controller")
        return fence

    # ---- snapshots, and what is not needed any more

    def _tidy(self, fence: int) -> None:
        """After a commit, which has taken effect whatever happens here."""
        if self._head is None or not self._tree.connected:
            return
        head = self._head[0]
        try:
            due = (
                head.version - head.snapshot_version >= METADATA_LOG_TRANSACTIONS_MAX
                or head.log_bytes >= max(METADATA_LOG_BYTES_MIN, head.snapshot_bytes)
            )
            if due:
                self._snapshot(head, fence)
            if due or not self._cleaned:
                self._clean()
                self._cleaned = True
        except (MetastoreError, _MissingError) as error:
            # The next commit tries again; a lost seat is told by it, too.
            _log.warning("metadata snapshot not written version=%d reason=%s", head.version, error)

    def _snapshot(self, head: Head, fence: int) -> None:
        """From what is stored, and not from memory: a snapshot that is written can be read."""
        data = encode_changes(list(self._read_state(head)))
        name = self._name(head.version)
        parts = self._write_parts(f"{SNAPSHOTS}/{name}", data, fence)
        after = Head(FORMAT, head.version, name, head.version, parts, len(data))
        self._set_head(head.version, fence, lambda _: after)
        _log.info(
            "metadata snapshot written version=%d bytes=%d parts=%d", head.version, len(data), parts
        )

    def _clean(self) -> None:
        """After a commit of this seat. Removes what no head refers to any more, and what nobody can
        finish any more: all that was begun in an earlier seat for the version that this seat has
        committed, or for a later one.
        """
        if self._head is None:
            return
        head = self._head[0]
        doomed = [
            f"{LOG}/{name}"
            for name in self._tree.children(LOG) or ()
            if name.isdecimal() and int(name) <= head.snapshot_version
        ]
        for name in self._tree.children(PARTS) or ():
            version, epoch = _parsed(name)
            unfinished = version >= head.version and epoch < self._seat.epoch
            if 0 <= version <= head.snapshot_version or unfinished:
                doomed += self._folder(f"{PARTS}/{name}")
        for name in self._tree.children(SNAPSHOTS) or ():
            version, epoch = _parsed(name)
            if name == head.snapshot or version < 0:
                continue
            if version < head.snapshot_version or epoch < self._seat.epoch:
                doomed += self._folder(f"{SNAPSHOTS}/{name}")
        self._tree.delete_many(doomed)

    def _folder(self, folder: str) -> list[str]:
        names = self._tree.children(folder)
        return [] if names is None else [*(f"{folder}/{name}" for name in names), folder]

    # ---- reading

    def _read_head(self) -> tuple[Head, int]:
        self._tree.sync()
        (znode,) = self._tree.get_many([HEAD])
        if znode is None:
            raise DamagedStoreError(f"znode {HEAD} is missing")
        body = _content(HEAD, znode)
        try:
            head = _head_decoder.decode(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DamagedStoreError(f"znode {HEAD} is unreadable: {error}") from error
        if head.format != FORMAT:
            raise MetastoreError(
                f"the metadata in ZooKeeper has format {head.format}, not {FORMAT}"
            )
        return head, znode.version

    def _read_state(self, head: Head) -> Fold:
        """Raises _MissingError."""
        state = Fold()
        if head.snapshot is not None:
            folder = f"{SNAPSHOTS}/{head.snapshot}"
            state.apply(self._read_parts(folder, head.snapshot_parts, head.snapshot_bytes))
        for first in range(head.snapshot_version + 1, head.version + 1, ENSEMBLE_REQUESTS_MAX):
            after = min(first + ENSEMBLE_REQUESTS_MAX, head.version + 1)
            paths = [_log_path(version) for version in range(first, after)]
            for version, path, body in zip(
                range(first, after), paths, self._contents(paths), strict=True
            ):
                state.apply(self._transaction(version, path, body))
        return state

    def _transaction(self, version: int, path: str, body: bytes) -> list[ChangeRecord]:
        try:
            entry = _entry_decoder.decode(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DamagedStoreError(f"znode {path} is unreadable: {error}") from error
        if entry.version != version:
            raise DamagedStoreError(f"znode {path} holds version {entry.version}")
        if entry.parts is not None:
            return self._read_parts(f"{PARTS}/{entry.parts}", entry.part_count, entry.size_bytes)
        return _records(path, entry.records, entry.size_bytes)

    def _read_parts(self, folder: str, count: int, size_bytes: int) -> list[ChangeRecord]:
        if not 0 < count <= METADATA_PARTS_MAX:
            raise DamagedStoreError(f"znode {folder} is to have {count} parts")
        return _records(folder, b"".join(self._contents(_part_paths(folder, count))), size_bytes)

    def _contents(self, paths: Sequence[str]) -> list[bytes]:
        contents = []
        for path, znode in zip(paths, self._tree.get_many(paths), strict=True):
            if znode is None:
                raise _MissingError(path)
            contents.append(_content(path, znode))
        return contents

    def _require_open(self) -> None:
        if self._closed:
            raise EnsembleError("the metadata store is closed")


def _content(path: str, znode: Znode) -> bytes:
    if len(znode.data) > METADATA_ZNODE_BYTES_MAX:
        raise DamagedStoreError(f"znode {path} is damaged: it has {len(znode.data)} bytes")
    return unseal(path, znode.data)


def _records(path: str, data: bytes, size_bytes: int) -> list[ChangeRecord]:
    if len(data) != size_bytes:
        raise DamagedStoreError(f"znode {path} has {len(data)} bytes of records, not {size_bytes}")
    try:
        return decode_changes(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DamagedStoreError(f"znode {path} is unreadable: {error}") from error


def _log_path(version: int) -> str:
    return f"{LOG}/{version:020}"


def _part_paths(folder: str, count: int) -> list[str]:
    return [f"{folder}/{number:06}" for number in range(count)]


def _parsed(name: str) -> tuple[int, int]:
    """Version and epoch of a folder's name; (-1, -1) when it is none of ours."""
    version, _, rest = name.partition("-")
    epoch, _, _ = rest.partition("-")
    return (int(version), int(epoch)) if version.isdecimal() and epoch.isdecimal() else (-1, -1)
