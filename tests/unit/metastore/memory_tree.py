"""A tree of znodes in memory, of which every single request can go wrong.

Several `MemoryTree` objects, one for each client, share one `Znodes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

from tidelog.metastore.tree import (
    ANY_VERSION,
    Create,
    Delete,
    NoAnswerError,
    NotDoneError,
    NotSentError,
    Operation,
    SetData,
    Why,
    Znode,
)


class Trouble(Enum):
    """What becomes of one request."""

    NONE = auto()
    NOT_SENT = auto()
    NOT_DONE = auto()  # lost on its way
    NO_ANSWER = auto()  # done, and its answer is lost
    LATE = auto()  # done at `Znodes.deliver`, if it still can be


class Killed(BaseException):
    """The client's process ends before the request: no handler of the code under test runs."""


class Znodes:
    """What the clients share: path -> content and version."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[bytes, int]] = {"/": (b"", 0)}
        self.late: list[Sequence[Operation]] = []

    def children(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        rest = (one[len(prefix) :] for one in self.found if one.startswith(prefix))
        return [name for name in rest if name and "/" not in name]

    def deliver(self) -> None:
        late, self.late = self.late, []
        for operations in late:
            try:
                self.apply(operations)
            except NotDoneError:
                continue

    def apply(self, operations: Sequence[Operation]) -> list[int]:
        """All or nothing."""
        before = dict(self.found)
        versions = []
        for index, one in enumerate(operations):
            why = self._one(one)
            if why is not None:
                self.found = before
                raise NotDoneError(index, why, f"{why.name} {one.path}")
            versions.append(self.found.get(one.path, (b"", 0))[1])
        return versions

    def _one(self, one: Operation) -> Why | None:
        there = self.found.get(one.path)
        if isinstance(one, Create):
            if there is not None:
                return Why.EXISTS
            if (one.path.rpartition("/")[0] or "/") not in self.found:
                return Why.MISSING
            self.found[one.path] = one.data, 0
            return None
        if there is None:
            return Why.MISSING
        if one.version not in (ANY_VERSION, there[1]):
            return Why.VERSION
        match one:
            case SetData(path, data):
                self.found[path] = data, there[1] + 1
            case Delete(path):
                if self.children(path):
                    return Why.NOT_EMPTY
                del self.found[path]
        return None


class MemoryTree:
    """One client's view. trouble: asked before each request; may raise Killed."""

    def __init__(self, znodes: Znodes, trouble: Callable[[], Trouble] | None = None) -> None:
        self._znodes = znodes
        self.trouble = trouble or (lambda: Trouble.NONE)
        self.connected = True

    def sync(self) -> None:
        self._read()

    def get_many(self, paths: Sequence[str]) -> list[Znode | None]:
        found = []
        for path in paths:
            self._read()
            there = self._znodes.found.get(path)
            found.append(None if there is None else Znode(*there, 0))
        return found

    def children(self, path: str) -> list[str] | None:
        self._read()
        return self._znodes.children(path) if path in self._znodes.found else None

    def multi(self, operations: Sequence[Operation]) -> list[int]:
        trouble = self.trouble()
        if trouble is Trouble.NOT_SENT:
            raise NotSentError("not sent")
        if trouble is Trouble.LATE:
            self._znodes.late.append(list(operations))
        if trouble in (Trouble.LATE, Trouble.NOT_DONE):
            raise NoAnswerError("no answer")
        try:
            versions = self._znodes.apply(operations)
        except NotDoneError:
            if trouble is Trouble.NO_ANSWER:
                raise NoAnswerError("no answer") from None
            raise
        if trouble is Trouble.NO_ANSWER:
            raise NoAnswerError("no answer")
        return versions

    def create_many(self, znodes: Sequence[Create]) -> None:
        for one in znodes:
            self.multi([one])

    def delete_many(self, paths: Sequence[str]) -> None:
        for path in paths:
            try:
                self.multi([Delete(path)])
            except NotDoneError:
                continue

    def _read(self) -> None:
        match self.trouble():
            case Trouble.NOT_SENT:
                raise NotSentError("not sent")
            case Trouble.NOT_DONE | Trouble.NO_ANSWER | Trouble.LATE:
                raise NoAnswerError("no answer")
            case Trouble.NONE:
                return
