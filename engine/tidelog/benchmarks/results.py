"""What a benchmark has found, as values and as JSON.

A `Report` holds the settings, the machine and, for each broker that was measured, its rounds; a
round holds figures (see FIGURES), latencies as histograms and what happened in each second.

Pure: reading and writing files is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from tidelog.benchmarks.histogram import Histogram

FORMAT: Final = "tidelog-bench"
VERSION: Final = 1
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99)

#: What each latency is counted from and to.
LATENCIES: Final = {
    "produce": "from when a request was due (at a fixed rate) or sent to its acknowledgement",
    "fetch": "from a fetch request to its answer",
    "end_to_end": "from when a record was due to be sent to when a consumer had it",
    "transaction": "from a transaction's first record to the end of its commit",
    "commit": "from the request to commit to its answer",
    "metadata": "from a Metadata request for the topic to its answer",
    "first_ack": "from the start of the process to the first acknowledged record",
}


@dataclass(frozen=True)
class Figure:
    """better: "higher", "lower", or "" where a difference is neither."""

    name: str
    unit: str
    better: str
    text: str


FIGURES: Final[Mapping[str, Figure]] = {
    figure.name: figure
    for figure in (
        Figure("records_per_s", "records/s", "higher", "records written"),
        Figure("mb_per_s", "MB/s", "higher", "written, in record batches as sent (10^6 bytes)"),
        Figure("requests_per_s", "requests/s", "higher", "requests answered"),
        Figure("consumed_records_per_s", "records/s", "higher", "records read, by all consumers"),
        Figure("consumed_mb_per_s", "MB/s", "higher", "read, by all consumers"),
        Figure("transactions_per_s", "transactions/s", "higher", "transactions committed"),
        Figure("drain_s", "s", "lower", "until the backlog was read"),
        Figure("target_records_per_s", "records/s", "", "the rate that was asked for"),
        Figure("unsent_requests", "requests", "lower", "due within the run and never sent"),
        Figure("broker_cpu_s_per_gb", "CPU s/GB", "lower", "the broker's CPU for 10^9 bytes"),
        Figure("broker_cpu_share", "of one CPU", "lower", "the broker's CPU"),
        Figure("broker_rss_mb", "MB", "lower", "the broker's resident memory"),
        Figure("kb_per_partition", "kB", "lower", "resident memory for each partition"),
        Figure("create_s", "s", "lower", "until the topic's partitions had leaders that serve"),
        Figure("ready_s", "s", "lower", "from the start of the process until it answers"),
        Figure("client_cpu_share", "of one CPU", "", "the busiest thread of the client"),
        Figure("elapsed_s", "s", "", "measured time"),
    )
}


@dataclass(frozen=True)
class Second:
    """What happened until `at_s` seconds after the start, since the one before."""

    at_s: float
    records: int
    payload_bytes: int
    consumed: int = 0


@dataclass(frozen=True)
class Round:
    """One measured run against one broker."""

    figures: Mapping[str, float]
    latencies: Mapping[str, Histogram] = field(default_factory=dict)
    seconds: Sequence[Second] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    load_before: float = 0.0
    load_after: float = 0.0
    warnings: Sequence[str] = ()

    def metrics(self) -> dict[str, float]:
        """The figures, and percentiles of the latencies in microseconds."""
        found = dict(self.figures)
        for name, histogram in self.latencies.items():
            for percent in PERCENTILES:
                found[f"{name}_p{percent:g}_us"] = histogram.percentile(percent) / 1e3
            found[f"{name}_max_us"] = histogram.max_ns / 1e3
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "figures": dict(self.figures),
            "latencies": {
                name: {
                    "count": histogram.count,
                    "mean_us": round(histogram.mean_ns / 1e3, 3),
                    "percentiles_us": {
                        f"{percent:g}": histogram.percentile(percent) / 1e3
                        for percent in PERCENTILES
                    },
                    "max_us": histogram.max_ns / 1e3,
                    "histogram": histogram.to_json(),
                }
                for name, histogram in self.latencies.items()
            },
            "seconds": [
                [round(s.at_s, 3), s.records, s.payload_bytes, s.consumed] for s in self.seconds
            ],
            "counts": dict(self.counts),
            "load_before": self.load_before,
            "load_after": self.load_after,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Round:
        return cls(
            figures={str(name): float(value) for name, value in data["figures"].items()},
            latencies={
                str(name): Histogram.from_json(latency["histogram"])
                for name, latency in data["latencies"].items()
            },
            seconds=[
                Second(float(at), int(records), int(size), int(consumed))
                for at, records, size, consumed in data["seconds"]
            ],
            counts={str(name): int(value) for name, value in data["counts"].items()},
            load_before=float(data["load_before"]),
            load_after=float(data["load_after"]),
            warnings=[str(text) for text in data["warnings"]],
        )


@dataclass(frozen=True)
class Measured:
    """A broker and its rounds."""

    name: str
    rounds: Sequence[Round]

    def latency(self, name: str) -> Histogram:
        """All rounds in one."""
        merged = Histogram()
        for one in self.rounds:
            if name in one.latencies:
                merged.merge(one.latencies[name])
        return merged


def check_format(data: Any, name: str, version: int, program: str) -> None:
    """Whether that program wrote it, in that version. Raises ValueError."""
    if not isinstance(data, Mapping) or data.get("format") != name:
        raise ValueError(f"it is not a result of {program}")
    if data.get("version") != version:
        raise ValueError(f"it is of version {data.get('version')}, not {version}")


@dataclass(frozen=True)
class Report:
    """A whole run of `tidelog bench run`."""

    workload: str
    settings: Mapping[str, Any]
    targets: Sequence[Measured]
    started_at: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "workload": self.workload,
            "started_at": self.started_at,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "warnings": list(self.warnings),
            "targets": [
                {
                    "name": target.name,
                    "medians": {
                        name: spread.median for name, spread in spreads(target.rounds).items()
                    },
                    "rounds": [one.to_json() for one in target.rounds],
                }
                for target in self.targets
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Raises ValueError for what `to_json` did not write."""
        check_format(data, FORMAT, VERSION, "tidelog bench")
        try:
            return cls(
                workload=str(data["workload"]),
                settings=dict(data["settings"]),
                targets=[
                    Measured(str(t["name"]), [Round.from_json(one) for one in t["rounds"]])
                    for t in data["targets"]
                ],
                started_at=str(data["started_at"]),
                versions=dict(data["versions"]),
                machine=dict(data["machine"]),
                warnings=[str(text) for text in data["warnings"]],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is damaged: {type(error).__name__} {error}") from error


@dataclass(frozen=True)
class Spread:
    """Median of the rounds, and their range."""

    median: float
    low: float
    high: float

    @property
    def relative(self) -> float:
        """Width of the range as a part of the median; 0 with one round."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0


def spreads(rounds: Sequence[Round]) -> dict[str, Spread]:
    """By metric, in the order of the first round; only metrics that every round has."""
    if not rounds:
        return {}
    metrics = [one.metrics() for one in rounds]
    found = {}
    for name in metrics[0]:
        if all(name in one for one in metrics):
            found[name] = spread_of([one[name] for one in metrics])
    return found


def spread_of(values: Sequence[float]) -> Spread:
    """values: at least one."""
    return Spread(median(values), min(values), max(values))


def better_of(metric: str) -> str:
    """ "higher", "lower" or "": percentiles are latencies, and lower is better."""
    if metric in FIGURES:
        return FIGURES[metric].better
    return "lower" if metric.endswith("_us") else ""


def unit_of(metric: str) -> str:
    if metric in FIGURES:
        return FIGURES[metric].unit
    return "µs" if metric.endswith("_us") else ""
