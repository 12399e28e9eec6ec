"""Stub of the native segments module (ext/tidelog/_native/segments.pyx)."""

from tidelog._native.segment import Segment

def find_slot(segments: list[Segment], offset: int) -> int: ...
def read(
    segments: list[Segment],
    offset: int,
    max_bytes: int,
    upper_offset: int,
    min_one_batch: bool = True,
) -> tuple[int, Segment | None, int, int, int]: ...
def available(segments: list[Segment], offset: int, upper_offset: int) -> int: ...
