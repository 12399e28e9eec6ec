"""Encoded Metadata answers, kept until the metadata changes.

Building the objects of a large answer costs far more than encoding them, and clients ask the same
thing again and again. Belongs to the worker's loop task; does no I/O. A key must name everything
that the answer depends on.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

#: Answers kept; a full cache is emptied (clients that ask for ever new sets of topics don't make it
#: grow).
MAX_ANSWERS: Final = 256
#: Bytes kept in all.
MAX_BYTES: Final = 16 * 1024 * 1024


class MetadataCache:
    """Bodies of answers by key, all of one metadata version."""

    def __init__(self) -> None:
        self._version = -1
        self._bodies: dict[Hashable, bytes] = {}
        self._bytes = 0

    def get(self, metadata_version: int, key: Hashable) -> bytes | None:
        """The answer that was put under the key for this version of the metadata."""
        if metadata_version != self._version:
            return None
        return self._bodies.get(key)

    def put(self, metadata_version: int, key: Hashable, body: bytes) -> None:
        """Keep an answer. What belongs to another version is forgotten; an answer for an older one
        is not kept.
        """
        if metadata_version < self._version:
            return
        if metadata_version > self._version or len(self._bodies) >= MAX_ANSWERS:
            self._clear(metadata_version)
        if self._bytes + len(body) > MAX_BYTES:
            self._clear(metadata_version)
        if len(body) <= MAX_BYTES:
            self._bodies[key] = body
            self._bytes += len(body)

    def _clear(self, metadata_version: int) -> None:
        self._version = metadata_version
        self._bodies.clear()
        self._bytes = 0
