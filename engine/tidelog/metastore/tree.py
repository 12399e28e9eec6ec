"""What the metadata store needs of a tree of znodes: operations, errors, and the seal on what it
writes.

Pure values and a contract; `znodes.py` carries it out with ZooKeeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

import xxhash

from tidelog.metastore.contract import DamagedStoreError
from tidelog.metastore.ensemble import EnsembleError

ANY_VERSION: Final = -1

_SEAL_BYTES: Final = 17  # 16 hexadecimal digits and a space


class Znode(NamedTuple):
    """What is read of one. version: counts its changes; owner: session of an ephemeral one, 0 for
    others.
    """

    data: bytes
    version: int
    owner: int


class Create(NamedTuple):
    path: str
    data: bytes = b""
    ephemeral: bool = False


class SetData(NamedTuple):
    path: str
    data: bytes
    version: int


class Delete(NamedTuple):
    path: str
    version: int = ANY_VERSION


class Check(NamedTuple):
    """Changes nothing; holds if the znode is there in that version."""

    path: str
    version: int


Operation = Create | SetData | Delete | Check


class Why(Enum):
    """Why an operation cannot be done."""

    EXISTS = auto()
    MISSING = auto()
    VERSION = auto()
    NOT_EMPTY = auto()
    OTHER = auto()


class NotDoneError(EnsembleError):
    """The service has refused a list of operations, because of the one at `index`: nothing of it
    was done.
    """

    def __init__(self, index: int, why: Why, text: str) -> None:
        super().__init__(text)
        self.index = index
        self.why = why


class NotSentError(EnsembleError):
    """There was no connection for as long as one is waited for: nothing was sent, nor will be."""


class NoAnswerError(EnsembleError):
    """It was sent, and whether it was or will be done is not known."""


class Tree(Protocol):
    """Calls that wait for their answer, for a bounded time. They raise EnsembleError, of the kinds
    above where a caller has to tell them apart.
    """

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, as far as is known."""

    def sync(self) -> None:
        """What is read after it is not older than what anybody had written before it."""

    def get_many(self, paths: Sequence[str]) -> list[Znode | None]:
        """In the order of the paths; None for what is not there."""

    def children(self, path: str) -> list[str] | None:
        """Names, in any order; None when the znode is not there."""

    def multi(self, operations: Sequence[Operation]) -> list[int]:
        """All or nothing. For each the version of its znode afterwards (0 where there is none)."""

    def create_many(self, znodes: Sequence[Create]) -> None:
        """One after another; after an error nobody knows which of them are there."""

    def delete_many(self, paths: Sequence[str]) -> None:
        """One after another; what is not there or not empty is passed over."""


def seal(path: str, body: bytes) -> bytes:
    """The body with its XXH3 before it, which covers the path, so that it is valid there only."""
    return _digest(path, body) + body


def unseal(path: str, data: bytes) -> bytes:
    """The body of what was read there. Raises DamagedStoreError."""
    body = data[_SEAL_BYTES:]
    if data[:_SEAL_BYTES] != _digest(path, body):
        raise DamagedStoreError(f"znode {path} is damaged: its checksum is another")
    return body


def _digest(path: str, body: bytes) -> bytes:
    digest = xxhash.xxh3_64(path.encode())
    digest.update(b"\n")
    digest.update(body)
    return digest.hexdigest().encode() + b" "
