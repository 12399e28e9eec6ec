"""The native codec against its plain Python twin: every message and record, every version."""

import pytest
from hypothesis import given

from tests.oracle.protocol import twin
from tests.oracle.protocol.entropy import Entropy, entropies, exhaustive
from tests.oracle.protocol.messages import ALL_VERSIONS, BUILDER, name_of
from tidelog.errors import MalformedMessageError
from tidelog.protocol.codec import decode_prefix, encode
from tidelog.protocol.schema import Message


@pytest.mark.parametrize(("cls", "version"), ALL_VERSIONS, ids=name_of)
@exhaustive
@given(entropies)
def test_native_and_twin_agree(cls: type[Message], version: int, entropy: Entropy) -> None:
    flexible = twin.is_flexible(cls, version)
    message = BUILDER.build(cls, version, entropy)
    if flexible and entropy.flag():
        message.unknown_tagged_fields = ((70, entropy.blob()), (2**31, b""))
    data = encode(message, version)
    assert data == twin.encode(message, version, flexible)
    assert decode_prefix(cls, version, data, keep_unknown=True) == (message, len(data))
    assert twin.decode(cls, version, data, flexible) == (message, len(data))

    # The same bytes with one of them changed: both read the same, or neither reads anything.
    position = entropy.integer(0, max(len(data) - 1, 0))
    broken = data[:position] + bytes([entropy.byte()]) + data[position + 1 :]
    try:
        expected = twin.decode(cls, version, broken, flexible)
    except MalformedMessageError:
        with pytest.raises(MalformedMessageError):
            decode_prefix(cls, version, broken, keep_unknown=True)
    else:
        assert repr(decode_prefix(cls, version, broken, keep_unknown=True)) == repr(expected)
