"""Cutting a stream into frames: in any pieces, and with sizes that are lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.errors import MalformedMessageError
from tidelog.protocol.frames import FrameSplitter, frame


def take_all(splitter: FrameSplitter) -> list[bytes]:
    return list(iter(splitter.next_frame, None))


def test_one_byte_at_a_time() -> None:
    payloads = [b"abc", b"", b"x" * 300]
    stream = b"".join(map(frame, payloads))
    splitter = FrameSplitter(300)
    found = []
    for byte in stream:
        splitter.feed(bytes([byte]))
        found += take_all(splitter)
    assert found == payloads
    assert splitter.pending_bytes == 0


@given(st.lists(st.binary(max_size=20), max_size=6), st.lists(st.integers(0, 40), max_size=12))
def test_any_pieces(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, payloads))
    splitter = FrameSplitter(20)
    found = []
    for cut in cuts:
        splitter.feed(memoryview(stream)[:cut])
        stream = stream[cut:]
        found += take_all(splitter)
    splitter.feed(bytearray(stream))
    assert found + take_all(splitter) == payloads


def test_frames_may_be_left_for_later() -> None:
    splitter = FrameSplitter(10)
    splitter.feed(frame(b"a") + frame(b"b") + b"\x00")
    assert splitter.next_frame() == b"a"
    assert splitter.pending_bytes == 6
    splitter.feed(b"\x00\x00\x01")
    assert splitter.next_frame() == b"b"
    assert splitter.next_frame() is None
    splitter.feed(b"c")
    assert take_all(splitter) == [b"c"]


@pytest.mark.parametrize("size", [b"\x00\x00\x00\x0b", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff"])
def test_a_size_that_is_a_lie(size: bytes) -> None:
    splitter = FrameSplitter(10)
    splitter.feed(frame(b"good") + size)
    assert splitter.next_frame() == b"good"
    for _ in range(2):
        with pytest.raises(MalformedMessageError, match="bytes"):
            splitter.next_frame()
        splitter.feed(b"more")


def test_memory_grows_with_what_came_not_with_what_was_promised() -> None:
    splitter = FrameSplitter(0x7FFFFFFF)
    splitter.feed(b"\x7f\xff\xff\xff" + b"x")
    assert splitter.next_frame() is None
    assert splitter.pending_bytes == 5
