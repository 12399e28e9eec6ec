"""What a worker tells survives the control channel."""

from __future__ import annotations

import msgspec

from tidelog.process.metrics.samples import Buckets, LogSample, OffsetSample, Samples


def test_there_and_back() -> None:
    told = Samples(
        {"a": [(("x", "y"), 1.5), ((), 2)]},
        {"b": [Buckets(("x",), [1, 2], 0.5)]},
        [LogSample("t", 0, 1, 2, 3, 4, 5)],
        [OffsetSample("g", "t", 0, 7)],
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Samples) == told
