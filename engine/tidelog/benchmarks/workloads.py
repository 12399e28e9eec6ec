"""The named workloads: their shapes, and how a user changes one.

Pure. The shapes are those that brokers are usually measured with: LinkedIn's three cheap machines,
the OpenMessaging Benchmark, Confluent's and the vendors' own reports. Sizes are scaled to a machine
with a few cores; `tidelog bench run NAME --set seconds=900` and the like scale them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

KINDS: Final = {
    "produce": "writes as fast as it can, or at a rate",
    "consume": "reads what was written before, again and again",
    "pipeline": "writes and reads at the same time; at a rate with end-to-end latency",
    "backlog": "writes a backlog, then reads it while writing goes on",
    "transactions": "commits in an interval, and reads what is committed",
    "partitions": "creates many partitions, asks for their metadata, writes a little to each",
    "idle": "has connections and waiting fetches but no records: what the broker costs at rest",
    "start": "starts the broker (--command): how long until it answers and until a record is in",
}
CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ACKS: Final = {"0": 0, "1": 1, "all": -1, "-1": -1}
BATCH_OVERHEAD_BYTES: Final = 61
RECORD_OVERHEAD_BYTES: Final = 8


class WorkloadError(ValueError):
    """A setting that makes no sense; the message is one line."""


@dataclass(frozen=True)
class Workload:
    """One shape. Sizes in bytes, rates in records a second over everything (0: no limit)."""

    name: str
    kind: str
    text: str
    topics: int = 1
    partitions: int = 1
    replication_factor: int = 1
    producers: int = 1
    consumers: int = 1  # in each group
    groups: int = 1
    record_bytes: int = 1024
    batch_bytes: int = 16384  # librdkafka's batch.size; the native client fills its batches so far
    batch_records: int = 0  # of the native client's batches; 0: by batch_bytes
    partitions_per_request: int = 1  # of the native client
    linger_ms: float = 0.0  # of librdkafka
    in_flight: int = 5  # requests on each connection
    acks: str = "1"
    idempotent: bool = False
    codec: str = "none"
    keys: int = 0  # different keys; 0: records without a key
    rate: float = 0.0
    seconds: float = 10.0
    warmup_s: float = 2.0
    max_bytes: int = 4_000_000_000  # that a round writes at most
    fetch_bytes: int = 1 << 20  # of one partition; the native client's
    fetch_wait_ms: int = 500
    backlog_bytes: int = 500_000_000  # written before "consume" and "backlog" read
    commit_interval_ms: int = 100
    verify_crc: bool = False  # of what is read
    topic_configs: str = ""  # KEY=VALUE,...

    @property
    def records_per_batch(self) -> int:
        if self.batch_records:
            return self.batch_records
        room = self.batch_bytes - BATCH_OVERHEAD_BYTES
        return max(1, room // (self.record_bytes + RECORD_OVERHEAD_BYTES))

    @property
    def acks_number(self) -> int:
        return ACKS[self.acks]

    @property
    def configs(self) -> dict[str, str]:
        """The topics' configs."""
        return {
            part.partition("=")[0].strip(): part.partition("=")[2].strip()
            for part in self.topic_configs.split(",")
            if part.strip()
        }

    def settings(self) -> dict[str, Any]:
        """Everything that decides what is done, as JSON has it."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "text")}


def _pipeline(name: str, text: str, **values: Any) -> Workload:
    return Workload(name, "pipeline", text, **values)


_LATENCY: Final[Mapping[str, Any]] = {
    "partitions": 16,
    "rate": 20_000.0,
    "batch_records": 4,
}

#: By name, in the order of `tidelog bench list`.
WORKLOADS: Final[Mapping[str, Workload]] = {
    workload.name: workload
    for workload in (
        Workload(
            "produce-100b", "produce", "small records into 6 partitions, one producer",
            partitions=6, record_bytes=100, batch_bytes=8196,
        ),
        Workload(
            "produce-100b-x3", "produce", "the same by three producers",
            partitions=6, producers=3, record_bytes=100, batch_bytes=8196,
        ),
        Workload("produce-16k", "produce", "batches of 16 KiB", in_flight=8),
        Workload(
            "produce-1m", "produce", "batches of 1 MB",
            batch_bytes=1_000_000, in_flight=4,
        ),
        Workload(
            "produce-single", "produce", "one small record a request, one request on the wire",
            record_bytes=100, batch_records=1, in_flight=1,
        ),
        Workload(
            "produce-rate", "produce", "1 KiB at 100,000 records a second, no other setting",
            rate=100_000.0,
        ),
        Workload(
            "produce-keyed", "produce", "50 producers, keys, small batches, 100 partitions",
            partitions=100, producers=50, keys=100_000, batch_records=4, partitions_per_request=10,
        ),
        Workload(
            "consume-100b", "consume", "small records out of 6 partitions, one consumer",
            partitions=6, record_bytes=100, batch_bytes=8196,
        ),
        Workload(
            "consume-100b-x3", "consume", "the same by three consumers",
            partitions=6, consumers=3, record_bytes=100, batch_bytes=8196,
        ),
        Workload("consume-1k", "consume", "1 KiB records out of one partition"),
        _pipeline(
            "latency", "end to end: 16 partitions, 1 KiB, 20,000 records a second", **_LATENCY
        ),
        _pipeline("latency-acks-all", "the same with acks=all", acks="all", **_LATENCY),
        _pipeline(
            "latency-sync", "the same with an fsync before each acknowledgement",
            topic_configs="flush.messages=1", acks="all", **_LATENCY,
        ),
        _pipeline(
            "latency-exactly-once", "the same, idempotent, one request on the wire",
            acks="all", idempotent=True, in_flight=1, **_LATENCY,
        ),
        _pipeline(
            "rate-100-partitions", "4 producers, 4 consumers, 100 partitions, 200,000 records a s",
            partitions=100, producers=4, consumers=4, rate=200_000.0, batch_records=8,
        ),
        _pipeline(
            "rate-10-topics", "10 topics of 16 partitions, 100 B, 1,000,000 records a second",
            topics=10, partitions=16, record_bytes=100, rate=1_000_000.0, batch_records=60,
        ),
        _pipeline("max-100b", "one partition, as fast as can be, 100 B", record_bytes=100),
        _pipeline("max-1k", "one partition, as fast as can be, 1 KiB", batch_bytes=131_072),
        _pipeline(
            "max-64k", "one partition, as fast as can be, 64 KiB",
            record_bytes=65_536, batch_bytes=524_288,
        ),
        _pipeline(
            "max-16-pairs", "16 producers, 16 consumers, 16 partitions, as fast as can be",
            partitions=16, producers=16, consumers=16,
        ),
        _pipeline(
            "sync-6-pairs", "6 producers, 6 consumers, 100,000 records a second, an fsync for each",
            partitions=6, producers=6, consumers=6, rate=100_000.0,
            topic_configs="flush.messages=1",
        ),
        *(
            _pipeline(
                f"fan-out-{groups}", f"one producer at 20,000 a second, {groups} reading groups",
                groups=groups, rate=20_000.0,
            )
            for groups in (2, 5, 20)
        ),
        Workload(
            "backlog", "backlog", "500 MB are read while 20,000 records a second are written",
            partitions=4, rate=20_000.0, seconds=60.0,
        ),
        Workload(
            "transactions", "transactions", "a commit every 100 ms over 10 partitions",
            partitions=10, acks="all", idempotent=True,
        ),
        Workload(
            "partitions-1000", "partitions", "1,000 partitions",
            partitions=1_000, rate=10_000.0, batch_records=1, partitions_per_request=100,
        ),
        Workload(
            "partitions-10000", "partitions", "10,000 partitions",
            partitions=10_000, rate=10_000.0, batch_records=1, partitions_per_request=100,
        ),
        Workload(
            "idle", "idle", "16 partitions, 16 waiting consumers, no records",
            partitions=16, consumers=16,
        ),
        Workload("start", "start", "from the start of the process to the first record"),
    )
}  # fmt: skip


def workload_named(name: str) -> Workload:
    """Raises WorkloadError."""
    if name not in WORKLOADS:
        near = [known for known in WORKLOADS if known.startswith(name[:4])]
        hint = f"; perhaps {', '.join(near[:5])}" if near and name else ""
        raise WorkloadError(f"there is no workload {name}{hint} (tidelog bench list)")
    return WORKLOADS[name]


def changed(workload: Workload, changes: Mapping[str, str]) -> Workload:
    """The workload with settings given as text. Raises WorkloadError."""
    kinds = {f.name: f.type for f in fields(Workload) if f.name not in ("name", "kind", "text")}
    values: dict[str, Any] = {}
    for name, text in changes.items():
        field = name.replace("-", "_")
        if field not in kinds:
            raise WorkloadError(f"{name} is no setting; there are {', '.join(kinds)}")
        values[field] = _value(name, str(kinds[field]), text)
    return checked(replace(workload, **values))


def _value(name: str, kind: str, text: str) -> Any:
    text = text.strip()
    try:
        if kind == "int":
            return int(text.replace("_", ""))
        if kind == "float":
            return float(text.replace("_", ""))
    except ValueError:
        raise WorkloadError(f"{name}={text}: a number is expected") from None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise WorkloadError(f"{name}={text}: true or false is expected")
        return text.lower() == "true"
    return text


#: name: (lowest, highest) of the numbers.
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "topics": (1, 1_000),
    "partitions": (1, 100_000),
    "replication_factor": (1, 100),
    "producers": (1, 10_000),
    "consumers": (1, 10_000),
    "groups": (1, 1_000),
    "record_bytes": (1, 100_000_000),
    "batch_bytes": (100, 100_000_000),
    "batch_records": (0, 1_000_000),
    "partitions_per_request": (1, 100_000),
    "linger_ms": (0, 900_000),
    "in_flight": (1, 65_536),
    "keys": (0, 100_000_000),
    "rate": (0, 1e9),
    "seconds": (0.1, 1e6),
    "warmup_s": (0, 1e6),
    "max_bytes": (1, 1 << 50),
    "fetch_bytes": (1, 1 << 30),
    "fetch_wait_ms": (0, 30_000),
    "backlog_bytes": (1, 1 << 50),
    "commit_interval_ms": (1, 60_000),
}


def checked(workload: Workload) -> Workload:
    """The same. Raises WorkloadError for what cannot be run."""
    for name, (low, high) in _BOUNDS.items():
        value = getattr(workload, name)
        if not low <= value <= high:
            raise WorkloadError(f"{name}={value:g}: between {low:g} and {high:g} is expected")
    if workload.codec not in CODECS:
        raise WorkloadError(f"codec={workload.codec}: one of {', '.join(CODECS)} is expected")
    if workload.acks not in ACKS:
        raise WorkloadError(f"acks={workload.acks}: 0, 1 or all is expected")
    if workload.idempotent and workload.acks_number != -1:
        raise WorkloadError("an idempotent producer needs acks=all")
    if workload.kind in ("backlog", "partitions") and not workload.rate:
        raise WorkloadError(f"{workload.name} needs a rate")
    for part in workload.topic_configs.split(","):
        if part.strip() and not part.partition("=")[1]:
            raise WorkloadError(f"topic_configs: {part.strip()} is not KEY=VALUE")
    return workload
