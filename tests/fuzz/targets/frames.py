"""Fuzz target: a connection that gets any bytes in any pieces.

Input: one byte for the receive buffer's size and how the stream is cut, then the stream. What must
hold stands in tests/fuzz/lanes/lane_model.py; besides, the pieces change nothing: the same stream
sent at once brings the same answers and the same end.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.lanes.lane_model import check, exchange
from tests.fuzz.targets import lanes
from tidelog.protocol.frames import frame

MAX_INPUT_BYTES = 2048
SCRATCH_SIZES = [64, 200, 1 << 18, 1024]
PIECES_MAX = 40
#: Answers that tell the time differ between two runs; these are echoed and do not.
_ECHOED = frame(b"\x00\x03\x00\x0c" + b"echo" * 8)


def run(data: bytes) -> None:
    """One input."""
    if not data:
        return
    stream = data[1:]
    scratch_size = SCRATCH_SIZES[data[0] & 3]
    cut = exchange(pieces(stream, data[0] >> 2), scratch_size=scratch_size)
    check(stream, cut)
    whole = exchange([stream])
    check(stream, whole)
    assert cut.reason == whole.reason
    if cut.reason is None:
        assert [len(answer) for answer in cut.answers] == [len(answer) for answer in whole.answers]


def pieces(stream: bytes, how: int) -> list[bytes]:
    """The stream cut at PIECES_MAX places at most; `how` chooses them, 0: not at all."""
    if how == 0:
        return [stream]
    found, position, step = [], 0, how
    while position < len(stream) and len(found) < PIECES_MAX:
        step = step * 5 % 61 + 1
        found.append(stream[position : position + step])
        position += step
    return [*found, stream[position:]]


def seeds() -> Iterator[tuple[str, bytes]]:
    """Frames of every kind, whole and broken, in every way of cutting."""
    requests = {
        name: b"".join(
            lanes.lane_frame(*lanes.CHOICES[part[0]], part[1:])
            for part in data.split(lanes.SEPARATOR)
        )
        for name, data in lanes.seeds()
    }
    for number, name in enumerate(requests):
        yield f"cut-{name}", bytes([number * 7 % 256]) + requests[name] + _ECHOED
    yield "echoes", bytes([3]) + _ECHOED * 5
    yield "echoes-cut", bytes([16]) + _ECHOED * 5
    yield "empty-frames", bytes([1]) + _ECHOED + bytes(8)
    yield "negative-size", bytes([5]) + _ECHOED + b"\xff\xff\xff\xff" + _ECHOED
    yield "large-size", bytes([9]) + _ECHOED + b"\x00\x01\x00\x01" + _ECHOED
    yield "unfinished", bytes([13]) + _ECHOED + _ECHOED[:-3]
