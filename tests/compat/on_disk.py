"""What a broker wrote: reads the headers of the batches in a topic's segment files.

Knows Kafka's file format by itself, so that it holds for Tidelog and for the reference. It only
reads, while the broker runs: a batch that is not complete yet ends the reading.
"""

from __future__ import annotations

import struct
from pathlib import Path

CODEC_NAMES = ("none", "gzip", "snappy", "lz4", "zstd")
# Base offset, length of what follows, leader epoch, magic, checksum, attributes.
HEADER = struct.Struct(">qiibIh")
LENGTH_ENDS_AT = 12
CODEC_MASK = 7


def codecs(data_dir: Path, topic: str) -> set[str]:
    """Names of the codecs of all batches of a topic, below any node's log directory."""
    found = set()
    for path in data_dir.rglob(f"{topic}-[0-9]*/*.log"):
        data = path.read_bytes()
        at = 0
        while at + HEADER.size <= len(data):
            _, length, _, _, _, attributes = HEADER.unpack_from(data, at)
            if length <= 0:
                break
            found.add(CODEC_NAMES[attributes & CODEC_MASK])
            at += LENGTH_ENDS_AT + length
    return found
