"""The codec and the tables against kio, an independent implementation of Kafka's schemas.

For every API and version that kio knows: fields of the same names in the same order, and random
messages byte for byte, ours -> theirs -> ours and theirs -> ours -> theirs.
"""

import pytest
from hypothesis import given

from tests.oracle.protocol import kio_side
from tests.oracle.protocol.entropy import Entropy, entropies, exhaustive
from tests.oracle.protocol.messages import API_VERSIONS, name_of
from tidelog.protocol.codec import decode, encode
from tidelog.protocol.schema import ApiMessage

PAIRS = list(kio_side.pairs())


def test_kio_knows_every_api_and_version() -> None:
    assert PAIRS == API_VERSIONS


@pytest.mark.parametrize(("cls", "version"), PAIRS, ids=name_of)
@exhaustive
@given(entropies)
def test_byte_for_byte(cls: type[ApiMessage], version: int, entropy: Entropy) -> None:
    kio_class = kio_side.kio_class(cls, version)
    ours = kio_side.OursForKio(kio_side.limits(cls, version)).build(cls, version, entropy)
    data = encode(ours, version)
    theirs = kio_side.read(kio_class, data)
    assert kio_side.write(theirs) == data
    assert decode(cls, version, kio_side.write(theirs)) == ours

    theirs = kio_side.build(kio_class, entropy)
    data = kio_side.write(theirs)
    ours = decode(cls, version, data)
    assert encode(ours, version) == data
    assert kio_side.read(kio_class, encode(ours, version)) == theirs
