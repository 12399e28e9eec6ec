"""Stub of the native slot of a written position (ext/tidelog/_native/written.pyx)."""

from typing_extensions import Buffer

class WrittenSlot:
    def __init__(self, mapping: Buffer, at: int) -> None: ...
