"""What a worker tells of itself when it is asked: plain values, by the metric's name.

Pure values (msgspec). The labels of a sample are those of its metric's definition, in their order
and without `node`, which the endpoint knows.
"""

from __future__ import annotations

import msgspec

Labels = tuple[str, ...]


class Buckets(msgspec.Struct, frozen=True, array_like=True):
    """A histogram: counts of each bucket and beyond the last, and the sum in seconds."""

    labels: Labels
    counts: list[int]
    sum_s: float


class NodeState(msgspec.Struct, frozen=True):
    """What readiness depends on. version: of the metadata that is applied."""

    serving: bool = False
    version: int = -1
    logs_opening: int = 0
    logs_offline: int = 0


# Of these there may be very many: one object each, which the garbage collector need not follow.


class LogSample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The log of a partition that the node leads; size in bytes."""

    topic: str
    partition: int
    log_start_offset: int
    high_watermark: int
    log_end_offset: int
    size: int
    segments: int


class OffsetSample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a group that the node coordinates has committed."""

    group: str
    topic: str
    partition: int
    offset: int


class Samples(msgspec.Struct, frozen=True):
    """Values and histograms by the metric's name; logs and offsets."""

    values: dict[str, list[tuple[Labels, float]]] = {}
    histograms: dict[str, list[Buckets]] = {}
    logs: list[LogSample] = []
    offsets: list[OffsetSample] = []
