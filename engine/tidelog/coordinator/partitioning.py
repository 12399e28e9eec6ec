"""Which partition of an internal topic holds the state of a group or a transactional id. Pure.

Kafka's rule, and part of the data: `abs` of Java's String.hashCode (over UTF-16 units, 32 bits,
wrapping) modulo the number of partitions, the smallest integer counting as 0. Another rule would
look for committed offsets in the wrong partition.
"""

from __future__ import annotations


def java_hash(text: str) -> int:
    """Java's String.hashCode, signed."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for i in range(0, len(units), 2):
        value = (value * 31 + (units[i] << 8 | units[i + 1])) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def coordinator_partition(key: str, partition_count: int) -> int:
    """The partition for a group id or transactional id."""
    value = java_hash(key)
    return (0 if value == -(1 << 31) else abs(value)) % partition_count
