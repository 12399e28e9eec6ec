"""Hostile bytes for every message and record struct in every version.

Whatever comes in: a message or MalformedMessageError, no crash, and no memory by a promise that the
bytes do not keep.
"""

import tracemalloc

import pytest
from hypothesis import given, settings

from tests.oracle.protocol.entropy import EXAMPLES, Entropy, entropies, exhaustive
from tests.oracle.protocol.messages import ALL_VERSIONS, BUILDER, name_of
from tidelog.errors import MalformedMessageError
from tidelog.protocol.codec import decode, decode_prefix, encode
from tidelog.protocol.schema import Message

# Each example is already dozens of attempts.
fuzz_settings = settings(exhaustive, max_examples=max(1, EXAMPLES // 3))

# Lengths as a fixed int32 or int16 and as a varint: huge, most negative, null, just too long.
HOSTILE = [
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x00\x01\x00\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x08",
    b"\x00",
]
# Far above what a few hundred bytes become, far below what any hostile length asks for.
MOST_MEMORY_BYTES = 1 << 20


def refuses(cls: type[Message], version: int, data: bytes) -> bool:
    """Whether the bytes are no message. Any other exception goes on."""
    try:
        decode_prefix(cls, version, data, keep_unknown=True)
    except MalformedMessageError:
        return True
    return False


@pytest.mark.parametrize(("cls", "version"), ALL_VERSIONS, ids=name_of)
@fuzz_settings
@given(entropies)
def test_truncated_at_every_position(cls: type[Message], version: int, entropy: Entropy) -> None:
    data = encode(BUILDER.build(cls, version, entropy), version)
    for length in range(min(len(data), 2000)):
        assert refuses(cls, version, data[:length])
    with pytest.raises(MalformedMessageError, match="1 bytes behind its end"):
        decode(cls, version, data + b"\x00")


@pytest.mark.parametrize(("cls", "version"), ALL_VERSIONS, ids=name_of)
@fuzz_settings
@given(entropies)
def test_hostile_lengths(cls: type[Message], version: int, entropy: Entropy) -> None:
    data = encode(BUILDER.build(cls, version, entropy), version)[:1000]
    attempts = [entropy.blob(entropy.byte()), b"\xff" * 200, b"\x01" * 200]
    for position in range(0, len(data), 1 + len(data) // 40):
        hostile = HOSTILE[entropy.below(len(HOSTILE))]
        attempts.append(data[:position] + hostile + data[position + len(hostile) :])
    tracemalloc.start()
    try:
        for attempt in attempts:
            refuses(cls, version, attempt)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY_BYTES
    finally:
        tracemalloc.stop()
