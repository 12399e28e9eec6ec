"""Fuzz target: the supervisor's files: the metadata store, its journal, the cluster file.

Input: one byte for the file, then its content; for the store's files a list of changes to a good
one (see EDIT), since random bytes are no database.

Must hold: opening is refused with StorageError (MetastoreError, DataDirectoryError), or gives
records that can be read, and a commit on top of them; a refusal changes neither the store nor the
logs' folders; the node folders of an accepted cluster file can be made, and it is saved and read
again as it was.
"""

from __future__ import annotations

import functools
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.lanes.lane_model import MEMORY
from tidelog.errors import StorageError
from tidelog.metadata.records import ChangeRecord, ClusterRecord, ConfigRecord, NodeRecord
from tidelog.metastore.local import LocalMetastore
from tidelog.process.data_directory import CLUSTER_FILE, STORE_FILE, DataDirectory

MAX_INPUT_BYTES = 2048
STORE, JOURNAL, CLUSTER, ROW = range(4)
#: A change: position, how many bytes it replaces, how many it puts there; the bytes follow.
EDIT = struct.Struct(">HBB")
CLUSTER_ID = "fuzzfuzzfuzzfuzzfuzzfu"
GOOD_CLUSTER = b'{"format": 1, "cluster_id": "%s", "nodes": {"1": "node-1", "2": "node-2"}}'
_NEW = ConfigRecord(2, "t", "retention.ms", "5")


def run(data: bytes) -> None:
    """One input."""
    if not data:
        return
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        kind, rest = data[0] % 4, data[1:]
        if kind == CLUSTER:
            _cluster_file(folder, rest)
        elif kind == ROW:
            _row(folder, rest)
        else:
            _store(folder, kind, rest)
    finally:
        shutil.rmtree(folder)


def seeds() -> Iterator[tuple[str, bytes]]:
    """Good files, with changes at places that say something."""
    yield "store", bytes([STORE])
    yield "journal", bytes([JOURNAL])
    for place in (0, 16, 18, 24, 28, 44, 56, 100, 103, 105, 108):
        yield f"store-{place}", bytes([STORE]) + EDIT.pack(place, 2, 2) + b"\xff\x7f"
        yield f"journal-{place}", bytes([JOURNAL]) + EDIT.pack(place, 4, 4) + b"\xff\xff\xff\xff"
    yield "cluster", bytes([CLUSTER]) + GOOD_CLUSTER % CLUSTER_ID.encode()
    yield "row", bytes([ROW]) + b"cluster\0\0" + b'{"type":"cluster","cluster_id":"c"}'
    yield "version", bytes([ROW]) + b"\0\0\x01"


@functools.cache
def good_files() -> tuple[bytes, bytes]:
    """A store of one page size with a few records, and the journal of its last transactions."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / STORE_FILE
        database = sqlite3.connect(path)
        database.execute("PRAGMA page_size=512")
        database.execute("VACUUM")
        database.close()
        store = LocalMetastore(path)
        records: list[ChangeRecord] = [ClusterRecord(CLUSTER_ID)]
        records += [NodeRecord(n, 1, None, (), "h", n, False, f"node-{n}") for n in (1, 2)]
        store.commit(records, 0)
        for version in range(1, 4):
            store.commit([_NEW], version)
        journal = path.with_name(STORE_FILE + "-wal").read_bytes()
        whole = folder / "whole"
        # The journal holds what the file has not got: both are taken as a kill leaves them.
        whole.write_bytes(path.read_bytes())
        store.close()
        return path.read_bytes(), journal
    finally:
        shutil.rmtree(folder)


def edited(data: bytes, edits: bytes) -> bytes:
    """The bytes with the changes made that `edits` lists."""
    out = bytearray(data)
    while len(edits) >= EDIT.size:
        position, removed, added = EDIT.unpack_from(edits)
        edits = edits[EDIT.size :]
        position = min(position, len(out))
        out[position : position + removed] = edits[:added]
        edits = edits[added:]
    return bytes(out)


def _store(folder: Path, kind: int, edits: bytes) -> None:
    path = folder / STORE_FILE
    store, journal = good_files()
    path.write_bytes(edited(store, edits) if kind == STORE else store)
    if kind == JOURNAL:
        path.with_name(STORE_FILE + "-wal").write_bytes(edited(journal, edits))
    _open(path)


def _row(folder: Path, data: bytes) -> None:
    """A row that somebody else wrote: kind, key and value parted by zero bytes; without a kind the
    value is the version (a signed number)."""
    path = folder / STORE_FILE
    path.write_bytes(good_files()[0])
    kind, _, rest = data.partition(b"\0")
    key, _, value = rest.partition(b"\0")
    database = sqlite3.connect(path)
    with database:
        if kind:
            values = [part.decode("utf-8", "replace") for part in (kind, key, value)]
            database.execute("INSERT OR REPLACE INTO entity VALUES (?, ?, ?)", values)
        else:
            number = int.from_bytes(value[:8], "big", signed=True)
            database.execute("UPDATE meta SET value = ? WHERE key = 'version'", (number,))
    database.close()
    _open(path)


def _open(path: Path) -> None:
    try:
        store = LocalMetastore(path)
    except StorageError:
        return
    try:
        version, before = store.load()
        assert store.commit([_NEW], version) == version + 1
        now, after = store.load()
        assert now == version + 1
        assert _NEW in after
        assert len(after) - len(before) in (0, 1)
    except StorageError:
        pass
    finally:
        store.close()


def _cluster_file(folder: Path, content: bytes) -> None:
    (folder / CLUSTER_FILE).write_bytes(content)
    logs = folder / "node-1" / "t-0"
    logs.mkdir(parents=True)
    (logs / "00000000000000000000.log").write_bytes(b"kept")
    try:
        directory = DataDirectory.open(folder)
    except StorageError:
        assert (folder / CLUSTER_FILE).read_bytes() == content
        return
    try:
        nodes, cluster_id = dict(directory.nodes), directory.cluster_id
        try:
            for node_id in nodes:
                directory.add_node(node_id)
                assert directory.node_path(node_id).parent == folder
            directory.save()
        except StorageError:
            return
    finally:
        directory.close()
        assert (logs / "00000000000000000000.log").read_bytes() == b"kept"
    again = DataDirectory.open(folder)
    again.close()
    assert (again.nodes, again.cluster_id) == (nodes, cluster_id)
