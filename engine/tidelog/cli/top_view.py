"""What `tidelog top` shows, made of two looks at a cluster. Pure.

A look (`Look`) holds totals; a view holds what they changed by in a second. What a source does not
know is None and shown as "-".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Cumulative counts by upper bound in seconds, the last bound is infinity.
Histogram = dict[float, float]


@dataclass(slots=True)
class TopicTotals:
    """Of one topic, since it or its nodes began; size in bytes."""

    records_in: float = 0
    bytes_in: float | None = None
    bytes_out: float | None = None
    size: float | None = None


@dataclass(slots=True)
class Progress:
    """Of a group in a topic: the sum of its committed offsets, and what is left to it."""

    committed: float = 0
    lag: int = 0


@dataclass(slots=True)
class GroupTotals:
    """Of one group; topics: those that it has offsets of."""

    state: str = ""
    members: int = 0
    topics: dict[str, Progress] = field(default_factory=dict)

    def topic(self, name: str) -> Progress:
        """Its progress in a topic, to be added to."""
        return self.topics.setdefault(name, Progress())


@dataclass(slots=True)
class NodeTotals:
    """Of one process: the nodes, and the supervisor."""

    up: bool = True
    cpu_s: float | None = None
    memory: float | None = None
    connections: int | None = None


@dataclass(slots=True)
class Look:
    """A cluster at one moment of the monotonic clock. answered_s: how long the question took."""

    at_s: float
    answered_s: float
    topics: dict[str, TopicTotals] = field(default_factory=dict)
    groups: dict[str, GroupTotals] = field(default_factory=dict)
    nodes: dict[str, NodeTotals] = field(default_factory=dict)
    latencies: dict[str, Histogram] = field(default_factory=dict)


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """Rows by what they are about, the busiest first."""

    answered_ms: float
    topics: list[Row]
    groups: list[Row]
    requests: list[Row]
    nodes: list[Row]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__}


def compare(before: Look, now: Look) -> View:
    """What happened between two looks."""
    seconds = max(now.at_s - before.at_s, 1e-9)
    return View(
        round(now.answered_s * 1000, 1),
        _topics(before.topics, now.topics, seconds),
        _groups(before.groups, now.groups, seconds),
        _requests(before.latencies, now.latencies, seconds),
        _nodes(before.nodes, now.nodes, seconds),
    )


def _topics(
    before: Mapping[str, TopicTotals], now: Mapping[str, TopicTotals], seconds: float
) -> list[Row]:
    rows = []
    for name, totals in now.items():
        old = before.get(name, totals)
        rows.append(
            {
                "topic": name,
                "records_in_per_s": rate(old.records_in, totals.records_in, seconds),
                "bytes_in_per_s": rate(old.bytes_in, totals.bytes_in, seconds),
                "bytes_out_per_s": rate(old.bytes_out, totals.bytes_out, seconds),
                "size": totals.size,
            }
        )
    return sorted(rows, key=lambda row: (-(row["records_in_per_s"] or 0), row["topic"]))


def _groups(
    before: Mapping[str, GroupTotals], now: Mapping[str, GroupTotals], seconds: float
) -> list[Row]:
    rows = []
    for name, totals in now.items():
        head = {"group": name, "state": totals.state, "members": totals.members}
        unknown = dict.fromkeys(("topic", "committed_per_s", "lag", "lag_per_s"))
        if not totals.topics:
            rows.append(head | unknown)
        old_topics = before.get(name, totals).topics
        for topic, progress in totals.topics.items():
            old = old_topics.get(topic, progress)
            rows.append(
                {
                    **head,
                    "topic": topic,
                    "committed_per_s": rate(old.committed, progress.committed, seconds),
                    "lag": progress.lag,
                    "lag_per_s": (progress.lag - old.lag) / seconds,
                }
            )
    return sorted(rows, key=lambda row: (-(row["lag"] or 0), row["group"], row["topic"] or ""))


def _requests(
    before: Mapping[str, Histogram], now: Mapping[str, Histogram], seconds: float
) -> list[Row]:
    rows = []
    for name, histogram in now.items():
        old = before.get(name, {})
        if any(histogram.get(bound, 0) < count for bound, count in old.items()):
            old = {}  # the node began anew
        grown = {bound: count - old.get(bound, 0) for bound, count in histogram.items()}
        total = max(grown.values(), default=0)
        if total <= 0:
            continue
        quantiles = (quantile(grown, q) * 1000 for q in (0.5, 0.99))
        p50_ms, p99_ms = quantiles
        rows.append({"request": name, "per_s": total / seconds, "p50_ms": p50_ms, "p99_ms": p99_ms})
    return sorted(rows, key=lambda row: (-row["per_s"], row["request"]))


def _nodes(
    before: Mapping[str, NodeTotals], now: Mapping[str, NodeTotals], seconds: float
) -> list[Row]:
    rows = []
    for name, totals in sorted(now.items()):
        cpu = rate(before.get(name, totals).cpu_s, totals.cpu_s, seconds)
        rows.append(
            {
                "node": name,
                "up": totals.up,
                "cpu_percent": None if cpu is None else cpu * 100,
                "memory": totals.memory,
                "connections": totals.connections,
            }
        )
    return rows


def rate(before: float | None, now: float | None, seconds: float) -> float | None:
    """So much in a second; what began anew counts from 0."""
    if before is None or now is None:
        return None
    return (now - before if now >= before else now) / seconds


def quantile(cumulative: Histogram, q: float) -> float:
    """In seconds, by interpolation within a bucket, as histogram_quantile of Prometheus."""
    bounds = sorted(cumulative)
    wanted = q * cumulative[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= wanted:
            if bound == float("inf") or count == below:
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def shown(rows: Sequence[Row], limit: int) -> list[list[str]]:
    """The first rows as a table has them."""
    return [[cell(name, value) for name, value in row.items()] for row in rows[:limit]]


def cell(name: str, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if name in ("size", "memory") or name.startswith("bytes_"):
        return size(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def size(count: float) -> str:
    """Bytes with a unit of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
