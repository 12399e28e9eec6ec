"""Putting a new local store into the place of one that is lost or damaged (`tidelog metadata
rebuild`).

Runs while no broker does, in the one process that holds the data directory's lock. It never
deletes a store, and never changes the bytes of the old one: that gets another name, together with
its journal.

| name | |
|---|---|
| `metadata.db.check` | copy of the store that is looked at; temporary |
| `metadata.db.rebuild` | the new store until it is whole; temporary |
| `metadata.db.set-aside-TIME` | the old one |

A stop at any moment leaves the old store, or none (a start then refuses, and the command can be
run again), or the new one; never a store beside the journal of another, which SQLite would replay
into it, and never a store without its own journal, which would be an older state.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

from tidelog.errors import InvariantError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.metastore.contract import DamagedStoreError, MetastoreError
from tidelog.metastore.local import (
    JOURNAL_SUFFIX,
    SHARED_MEMORY_SUFFIX,
    LocalMetastore,
    load_image,
)
from tidelog.storage.files import SYSTEM_FILES, Files

_CHECK_SUFFIX: Final = ".check"
_NEW_SUFFIX: Final = ".rebuild"
_ASIDE_SUFFIX: Final = ".set-aside-"
_BESIDE: Final = (JOURNAL_SUFFIX, SHARED_MEMORY_SUFFIX)
_COPY_BYTES: Final = 1 << 20


class StoreState(Enum):
    """What is found under the store's name."""

    MISSING = auto()  # or it never held anything
    DAMAGED = auto()
    UNUSABLE = auto()  # of a later format, no permission: not lost
    GOOD = auto()


class Examination(NamedTuple):
    """problem: for the user, "" for a good store. image: what a good store holds."""

    state: StoreState
    problem: str
    image: MetadataImage | None = None


def examine(path: Path, files: Files = SYSTEM_FILES) -> Examination:
    """Looks at a copy: opening a store replays its journal. Raises OSError."""
    if not path.exists() or not path.stat().st_size:
        return Examination(StoreState.MISSING, "is missing or empty")
    copy = path.with_name(path.name + _CHECK_SUFFIX)
    _remove(copy, files)
    try:
        _copy(path, copy)
        journal = _beside(path, JOURNAL_SUFFIX)
        if journal.exists():
            _copy(journal, _beside(copy, JOURNAL_SUFFIX))
        return _look(copy)
    finally:
        _remove(copy, files)


def _look(copy: Path) -> Examination:
    try:
        store = LocalMetastore(copy)
        try:
            image = load_image(store)
        finally:
            with contextlib.suppress(MetastoreError):
                store.close()
    except MetastoreError as error:
        damaged = isinstance(error, DamagedStoreError)
        problem = str(error).replace(str(copy), str(copy).removesuffix(_CHECK_SUFFIX))
        return Examination(StoreState.DAMAGED if damaged else StoreState.UNUSABLE, problem)
    if not image.cluster_id:
        return Examination(StoreState.MISSING, "holds nothing")
    return Examination(StoreState.GOOD, "", image)


def write_new(path: Path, records: Sequence[ChangeRecord], files: Files = SYSTEM_FILES) -> Path:
    """A store with these records, whole and durable under a temporary name, which is returned.

    Raises MetastoreError, OSError.
    """
    new = path.with_name(path.name + _NEW_SUFFIX)
    _remove(new, files)
    store = LocalMetastore(new)
    try:
        store.commit(records, 0)
    finally:
        store.close()
    # What a broker will find: the file alone, without what lies beside it while it is open.
    again = LocalMetastore(new)
    try:
        found = load_image(again)
    finally:
        again.close()
    if found != MetadataImage.from_records(records, 1):
        raise InvariantError(f"{new} does not hold what was written")
    if _beside(new, JOURNAL_SUFFIX).exists():
        raise MetastoreError(f"metadata store {new} still needs its journal after it was closed")
    files.sync_file(str(new))
    return new


def put_in_place(path: Path, new: Path, stamp: str, files: Files = SYSTEM_FILES) -> Path | None:
    """Gives the new store the name; returns the old one's, None when there was none.

    stamp: what tells the old one from others. Each step is durable before the next one begins.
    Raises OSError.
    """
    directory = str(path.parent)
    aside = path.with_name(path.name + _ASIDE_SUFFIX + stamp)
    number = 1
    while any(one.exists() for one in (aside, *(_beside(aside, suffix) for suffix in _BESIDE))):
        number += 1
        aside = path.with_name(f"{path.name}{_ASIDE_SUFFIX}{stamp}-{number}")
    moved = None
    # The store first: its journal alone is nothing, but without it the store would be an old one.
    for suffix in ("", *_BESIDE):
        old = _beside(path, suffix)
        if old.exists():
            files.rename(str(old), str(_beside(aside, suffix)))
            files.sync_directory(directory)
            moved = aside
    files.rename(str(new), str(path))
    files.sync_directory(directory)
    return moved


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        while data := old.read(_COPY_BYTES):
            new.write(data)


def _remove(path: Path, files: Files) -> None:
    """Removes a temporary store of ours."""
    for suffix in ("", *_BESIDE):
        files.unlink(os.fspath(_beside(path, suffix)))
