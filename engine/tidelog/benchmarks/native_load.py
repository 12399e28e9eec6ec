"""The native client: connections that replay encoded requests, each group of them on a thread.

Owned by the process of `tidelog bench`. A load's thread leaves the interpreter's lock alone while
it runs, so several loads and the one who watches them do not slow each other down. Encodes every
request before the measured time begins.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tidelog._native.loadgen import LoadError, LoadGenerator
from tidelog.benchmarks.batches import Batch, encode_batch, payloads
from tidelog.benchmarks.cluster import Address, Cluster, TopicLayout, error_name
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.requests import (
    API_FETCH,
    API_PRODUCE,
    Template,
    fence_request,
    fetch_request,
    produce_request,
)
from tidelog.benchmarks.workloads import CODECS, Workload

if TYPE_CHECKING:
    from tidelog._native.loadgen import Histogram as NativeHistogram
    from tidelog._native.loadgen import RunCounts

PRODUCE_VERSION: Final = 9
FETCH_VERSION: Final = 12
CONNECT_TIMEOUT_S: Final = 10.0
#: What was due at the end of a run may still be sent for so long.
GRACE_NS: Final = 500_000_000
#: A key is so long: a counter in decimal digits.
KEY_DIGITS: Final = 10

Place = tuple[str, int]
#: When the first batch of a partition is due, how far apart they are (ns), records in each.
Schedule = tuple[int, int, int]


class BenchError(Exception):
    """A run that could not be done; the message is one line."""


@dataclass(frozen=True)
class Share:
    """One connection: where to, and the partitions that are its own there."""

    producer: int
    address: Address
    places: Sequence[Place]


def writer_shares(layouts: Sequence[TopicLayout], producers: int) -> list[Share]:
    """Each producer has its part of all partitions, and a connection to each leader of one. With
    more producers than partitions several share one."""
    everything = sorted((x.name, partition) for x in layouts for partition in x.leaders)
    shares = []
    for producer in range(producers):
        own = everything[producer::producers] or [everything[producer % len(everything)]]
        shares += [Share(producer, leader, p) for leader, p in by_leader(layouts, own).items()]
    return shares


def reader_shares(layouts: Sequence[TopicLayout], consumers: int) -> list[Share]:
    """All partitions among the consumers of a group: a connection for each leader and topic of a
    consumer. Nobody shares a partition, and who gets none has no connection."""
    everything = sorted((x.name, partition) for x in layouts for partition in x.leaders)
    return [
        Share(consumer, leader, places)
        for consumer in range(consumers)
        for layout in layouts
        for leader, places in by_leader([layout], everything[consumer::consumers]).items()
    ]


def by_leader(
    layouts: Sequence[TopicLayout], wanted: Sequence[Place]
) -> dict[Address, list[Place]]:
    """Those of the wanted partitions that are in the layouts."""
    leaders = {
        (x.name, partition): leader for x in layouts for partition, leader in x.leaders.items()
    }
    found: dict[Address, list[Place]] = {}
    for place in wanted:
        if place in leaders:
            found.setdefault(leaders[place], []).append(place)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Transaction:
    """Whose transaction the batches belong to."""

    transactional_id: str
    producer_id: int
    producer_epoch: int


class Load:
    """Some connections of one kind, which run together; a context manager."""

    def __init__(self, what: str, generator: LoadGenerator) -> None:
        self.what = what
        self.connections = 0
        self.schedules: dict[Place, Schedule] = {}
        self._generator = generator
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._counts: RunCounts | None = None
        self._error: Exception | None = None

    def connect(self, address: Address, templates: Sequence[Template], **options: Any) -> None:
        try:
            peer = socket.create_connection(address, CONNECT_TIMEOUT_S)
        except OSError as error:
            raise BenchError(f"{address[0]}:{address[1]} cannot be reached: {error}") from error
        self._sockets.append(peer)
        peer.settimeout(None)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._generator.add_connection(peer.fileno(), templates, fence_request(), **options)
        self.connections += 1

    def start(self, *, seconds: float = 0.0, max_requests: int = 0, start_at_ns: int = 0) -> None:
        """Begins a run on a thread; `join` has to follow."""
        self._counts = self._error = None

        def work() -> None:
            try:
                self._counts = self._generator.run(
                    seconds=seconds,
                    max_requests=max_requests,
                    start_at_ns=start_at_ns,
                    grace_ns=GRACE_NS,
                )
            except Exception as error:
                self._error = error

        self._thread = threading.Thread(target=work, name=f"bench {self.what}", daemon=True)
        self._thread.start()

    def run(self, *, seconds: float = 0.0, max_requests: int = 0) -> RunCounts:
        """Runs to the end; ends early on Ctrl-C."""
        self.start(seconds=seconds, max_requests=max_requests)
        try:
            while self.running:
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        return self.join()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def progress(self) -> tuple[int, int, int]:
        """(requests, records, bytes) so far."""
        return self._generator.progress

    def stop(self) -> None:
        self._generator.stop()

    def join(self) -> RunCounts:
        """What the run has counted. Raises BenchError."""
        assert self._thread is not None
        self._thread.join()
        if isinstance(self._error, LoadError):
            raise BenchError(explained(self.what, self._error)) from self._error
        if self._error is not None:
            raise self._error
        assert self._counts is not None
        return self._counts

    def close(self) -> None:
        if self.running:
            self.stop()
            assert self._thread is not None
            self._thread.join()
        for peer in self._sockets:
            peer.close()
        self._sockets.clear()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def explained(what: str, error: LoadError) -> str:
    """A failed run in words."""
    if error.kafka_error:
        name = error_name(error.kafka_error)
        return f"the broker refused to {what}: {name} (Kafka error code {error.kafka_error})"
    return f"could not {what}: {error}"


def writers(
    cluster: Cluster,
    workload: Workload,
    layouts: Sequence[TopicLayout],
    *,
    now_ms: int,
    transaction: Transaction | None = None,
) -> Load:
    """Connections that write; at the workload's rate if it has one."""
    version = cluster.version(API_PRODUCE, PRODUCE_VERSION)
    acks0 = workload.acks_number == 0
    load = Load(
        "write", LoadGenerator("produce", version, in_flight=workload.in_flight, acks0=acks0)
    )
    shares = writer_shares(layouts, workload.producers)
    batches = BatchMaker(cluster, workload, now_ms, transaction)
    rates = share_rates(shares, workload.rate)
    try:
        for number, share in enumerate(shares):
            batch = batches.of_producer(share.producer)
            templates = produce_templates(version, workload, share.places, batch, transaction)
            interval_ns = offset_ns = 0
            if workload.rate:
                records = len(share.places) * batch.record_count / len(templates)
                interval_ns = max(1, round(records / rates[number] * 1e9))
                offset_ns = interval_ns * number // len(shares)
                note_schedules(load.schedules, workload, share, batch, interval_ns, offset_ns)
            load.connect(share.address, templates, interval_ns=interval_ns, offset_ns=offset_ns)
        drop_shared(load.schedules, shares)
    except BaseException:
        load.close()
        raise
    return load


def share_rates(shares: Sequence[Share], rate: float) -> list[float]:
    """Records a second for each connection, so that every partition gets as many."""
    sharers = Counter(place for share in shares for place in share.places)
    return [rate * sum(1 / sharers[p] for p in share.places) / len(sharers) for share in shares]


def note_schedules(
    schedules: dict[Place, Schedule],
    workload: Workload,
    share: Share,
    batch: Batch,
    interval_ns: int,
    offset_ns: int,
) -> None:
    """When each of the share's partitions gets its batches: the requests take turns."""
    step = workload.partitions_per_request
    turns = -(-len(share.places) // step)
    for index, place in enumerate(share.places):
        first_ns = offset_ns + index // step * interval_ns
        schedules[place] = (first_ns, turns * interval_ns, batch.record_count)


def drop_shared(schedules: dict[Place, Schedule], shares: Sequence[Share]) -> None:
    """Nobody knows which batch is whose where several write to one partition."""
    sharers = Counter(place for share in shares for place in share.places)
    for place, count in sharers.items():
        if count > 1:
            schedules.pop(place, None)


class BatchMaker:
    """The batch of each producer: the same for all, but for the producer id of idempotent ones."""

    def __init__(
        self, cluster: Cluster, workload: Workload, now_ms: int, transaction: Transaction | None
    ) -> None:
        self._cluster = cluster
        self._workload = workload
        self._now_ms = now_ms
        self._transaction = transaction
        self._made: dict[int, Batch] = {}
        self._values = payloads(workload.records_per_batch, workload.record_bytes, seed=1)

    def of_producer(self, producer: int) -> Batch:
        number = producer if self._workload.idempotent else 0
        if number not in self._made:
            self._made[number] = self._make()
        return self._made[number]

    def _make(self) -> Batch:
        w = self._workload
        options: dict[str, Any] = {}
        if self._transaction is not None:
            producer_id, epoch = self._transaction.producer_id, self._transaction.producer_epoch
        elif w.idempotent:
            producer_id, epoch = self._cluster.new_producer_id()
        if self._transaction is not None or w.idempotent:
            options = {"producer_id": producer_id, "producer_epoch": epoch, "base_sequence": 0}
        keys = [b"%0*d" % (KEY_DIGITS, n) for n in range(min(w.keys, w.records_per_batch))]
        return encode_batch(
            self._values,
            self._now_ms,
            transactional=self._transaction is not None,
            keys=keys,
            codec=CODECS[w.codec],
            **options,
        )


def produce_templates(
    version: int,
    workload: Workload,
    places: Sequence[Place],
    batch: Batch,
    transaction: Transaction | None,
) -> list[Template]:
    """One request for each partitions_per_request places."""
    step = workload.partitions_per_request
    templates = []
    for start in range(0, len(places), step):
        batches: dict[str, dict[int, Batch]] = {}
        for topic, partition in places[start : start + step]:
            batches.setdefault(topic, {})[partition] = batch
        templates.append(
            produce_request(
                version,
                batches,
                acks=workload.acks_number,
                transactional_id=transaction.transactional_id if transaction else None,
            )
        )
    return templates


def readers(
    cluster: Cluster,
    workload: Workload,
    layouts: Sequence[TopicLayout],
    *,
    mode: str,
    starts: Mapping[Place, int],
    ends: Mapping[Place, int],
    schedules: Mapping[Place, Schedule] | None = None,
    read_committed: bool = False,
) -> Load:
    """Connections of all groups that read from `starts` on: mode "stream" again and again up to
    `ends`, "tail" for ever. With the schedules of the writer they measure end to end."""
    version = cluster.version(API_FETCH, FETCH_VERSION)
    load = Load(
        "read",
        LoadGenerator(
            "fetch",
            version,
            fetch_mode=mode,  # type: ignore[arg-type]  # checked there
            verify_crc=workload.verify_crc,
        ),
    )
    try:
        for _ in range(workload.groups):
            for share in reader_shares(layouts, workload.consumers):
                ranges = {p: (starts[t, p], ends[t, p]) for t, p in share.places}
                template = fetch_request(
                    version,
                    {share.places[0][0]: ranges},
                    max_bytes=min(workload.fetch_bytes * len(ranges), 52_428_800),
                    partition_max_bytes=workload.fetch_bytes,
                    max_wait_ms=workload.fetch_wait_ms,
                    isolation_level=int(read_committed),
                )
                due = [schedules[place] for place in share.places] if schedules else []
                load.connect(share.address, [template], schedules=due)
    except BaseException:
        load.close()
        raise
    return load


def ends_of(cluster: Cluster, layouts: Sequence[TopicLayout]) -> dict[Place, int]:
    return {
        (layout.name, partition): end
        for layout in layouts
        for partition, end in cluster.log_ends(layout).items()
    }


def histogram_of(native: NativeHistogram) -> Histogram:
    """The same values; the buckets are cut alike."""
    return Histogram.from_buckets(
        ((lowest, count) for lowest, _, count in native.buckets()),
        total_ns=round(native.mean * native.count),
        min_ns=native.min,
        max_ns=native.max,
        count=native.count,
    )
