"""An answer that a shard gives later (JoinGroup, SyncGroup). Pure: no loop, no thread.

A shard keeps the promise in its state and fulfils it in a later operation; the runtime turns it
into a future for the handler
that waits. Under a simulator nothing but the shard is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from tidelog.errors import InvariantError

A = TypeVar("A")


class Promise(Generic[A]):
    """Fulfilled once; then `value` holds the answer."""

    __slots__ = ("_callback", "done", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: A | None = None
        self._callback: Callable[[A], None] | None = None

    def fulfil(self, value: A) -> None:
        """Give the answer. Twice is our own mistake."""
        if self.done:
            raise InvariantError("a promise is fulfilled once")
        self.done = True
        self.value = value
        if self._callback is not None:
            self._callback(value)

    def when_done(self, callback: Callable[[A], None]) -> None:
        """Have `callback(value)` called, at once if the answer is there already."""
        self._callback = callback
        if self.done:
            assert self.value is not None
            callback(self.value)
