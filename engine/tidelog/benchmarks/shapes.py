"""Named workloads: what is sent, over how many connections, and what is measured.

Works on anything that looks like `Cluster` (a real broker, or the floor server, which has no
topics). Owner of the sockets of a run. Encodes every request before the measured time begins.
"""

import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from tidelog._native.loadgen import LoadGenerator
from tidelog.benchmarks.batches import Batch, sized_batch
from tidelog.benchmarks.cluster import Address, TopicLayout
from tidelog.benchmarks.requests import (
    API_FETCH,
    API_PRODUCE,
    Template,
    fence_request,
    fetch_request,
    produce_request,
)

if TYPE_CHECKING:
    from tidelog._native.loadgen import RunCounts

PRODUCE_VERSION = 9
FETCH_VERSION = 12
MEGABYTE = 1_000_000
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)


class ClusterLike(Protocol):
    def version(self, api_key: int, wanted: int) -> int: ...
    def create_topic(
        self, topic: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> TopicLayout: ...
    def delete_topic(self, topic: str) -> None: ...
    def offsets(self, layout: TopicLayout, partition: int) -> tuple[int, int]: ...
    def new_producer_id(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Workload:
    """Sizes in bytes; batch_bytes is the whole record batch, fetch_bytes both fetch limits."""

    name: str
    kind: str  # "produce" or "fetch"
    batch_bytes: int
    in_flight: int = 1
    connections: int = 1
    partitions: int = 1
    partitions_per_request: int = 1
    acks: int = 1
    idempotent: bool = False
    record_bytes: int = 1024
    fetch_bytes: int = 1 << 20
    fill_bytes: int = 512 * MEGABYTE
    fetch_mode: str = "stream"
    discard: bool = False
    verify_crc: bool = False
    api_version: int = 0  # 0: PRODUCE_VERSION or FETCH_VERSION, or what the broker has below
    socket_buffer_bytes: int = 0  # 0: what the kernel gives
    congestion: str = ""  # TCP congestion control of the client's side; "": the system's


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("produce-255", "produce", 255, in_flight=64),
        Workload("produce-255-x1", "produce", 255, in_flight=1),
        Workload("produce-16k", "produce", 16_384, in_flight=8),
        Workload("produce-1m", "produce", 1_000_000, in_flight=4),
        Workload("fetch-1m", "fetch", 65_536, in_flight=1),
    )
}


@dataclass(frozen=True)
class Report:
    """One measured run. MB is 10^6 bytes of record batches; latencies in microseconds."""

    workload: str
    requests_per_s: float
    mb_per_s: float
    elapsed_s: float
    latency_us: Mapping[str, float]
    client_cpu_s: float
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def client_cpu_share(self) -> float:
        """Part of the run in which the client's one thread was busy; near 1 it is the limit."""
        return self.client_cpu_s / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def record_bytes(self) -> int:
        return self.counts["record_bytes"]

    def to_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "requests_per_s": round(self.requests_per_s, 1),
            "mb_per_s": round(self.mb_per_s, 2),
            "elapsed_s": round(self.elapsed_s, 4),
            "latency_us": dict(self.latency_us),
            "client_cpu_s": round(self.client_cpu_s, 3),
            "client_cpu_share": round(self.client_cpu_share, 3),
            "counts": dict(self.counts),
        }


def make_report(workload: str, counts: "RunCounts") -> Report:
    elapsed_s = counts["elapsed_ns"] / 1e9
    latency = counts["latency"]
    microseconds = {f"p{p:g}": latency.percentile(p) / 1e3 for p in PERCENTILES}
    microseconds |= {"max": latency.max / 1e3, "mean": round(latency.mean / 1e3, 3)}
    return Report(
        workload,
        requests_per_s=counts["requests"] / elapsed_s,
        mb_per_s=counts["record_bytes"] / elapsed_s / MEGABYTE,
        elapsed_s=elapsed_s,
        latency_us=microseconds,
        client_cpu_s=(counts["user_ns"] + counts["system_ns"]) / 1e9,
        counts={name: value for name, value in counts.items() if isinstance(value, int)},
    )


def share_out(layout: TopicLayout, connections: int) -> list[tuple[Address, list[int]]]:
    """Which leader each connection goes to, and its partitions there. Every partition gets a
    connection; with more connections than partitions several share one."""
    by_leader: dict[Address, list[int]] = {}
    for partition in sorted(layout.leaders):
        by_leader.setdefault(layout.leaders[partition], []).append(partition)
    leaders = sorted(by_leader)
    if connections < len(leaders):
        raise ValueError(f"{len(leaders)} leaders need as many connections")
    shares: list[tuple[Address, list[int]]] = []
    for index in range(connections):
        leader = leaders[index % len(leaders)]
        partitions = by_leader[leader]
        nth = index // len(leaders)
        of = len(range(leaders.index(leader), connections, len(leaders)))
        if of >= len(partitions):
            shares.append((leader, [partitions[nth % len(partitions)]]))
        else:
            shares.append((leader, partitions[nth::of]))
    return shares


class Load:
    """Connections of one workload to one topic, ready to run; a context manager."""

    def __init__(self, cluster: ClusterLike, workload: Workload, layout: TopicLayout) -> None:
        self.workload = workload
        self.layout = layout
        self._cluster = cluster
        self._sockets: list[socket.socket] = []
        produce = workload.kind == "produce"
        self._version = workload.api_version or cluster.version(
            API_PRODUCE if produce else API_FETCH, PRODUCE_VERSION if produce else FETCH_VERSION
        )
        self._generator = LoadGenerator(
            "produce" if produce else "fetch",
            self._version,
            in_flight=workload.in_flight,
            acks0=produce and workload.acks == 0,
            fetch_mode=workload.fetch_mode,  # type: ignore[arg-type]  # checked there
            discard=workload.discard,
            verify_crc=workload.verify_crc,
        )
        try:
            for address, partitions in share_out(layout, workload.connections):
                templates = (
                    self._produce_templates(partitions)
                    if produce
                    else [self._fetch_template(partitions)]
                )
                self._connect(address, templates)
        except BaseException:
            self.close()
            raise

    def run(self, *, seconds: float = 0.0, max_requests: int = 0) -> Report:
        counts = self._generator.run(seconds=seconds, max_requests=max_requests)
        return make_report(self.workload.name, counts)

    def close(self) -> None:
        for peer in self._sockets:
            peer.close()
        self._sockets.clear()

    def __enter__(self) -> "Load":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self, address: Address, templates: Sequence[Template]) -> None:
        peer = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self._sockets.append(peer)
        if self.workload.socket_buffer_bytes:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                peer.setsockopt(socket.SOL_SOCKET, option, self.workload.socket_buffer_bytes)
        if self.workload.congestion:
            name = self.workload.congestion.encode()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        peer.connect(address)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._generator.add_connection(peer.fileno(), templates, fence_request())

    def _produce_templates(self, partitions: Sequence[int]) -> list[Template]:
        """One template for each chunk of partitions_per_request partitions; all share one batch
        (equal bytes are shared in memory too), unless sequences make them differ later."""
        w = self.workload
        batch = self._batch()
        step = max(1, w.partitions_per_request)
        return [
            produce_request(
                self._version,
                {self.layout.name: dict.fromkeys(partitions[i : i + step], batch)},
                acks=w.acks,
            )
            for i in range(0, len(partitions), step)
        ]

    def _batch(self) -> Batch:
        w = self.workload
        now_ms = int(time.time() * 1000)
        if not w.idempotent:
            return sized_batch(w.batch_bytes, now_ms, record_bytes=w.record_bytes)
        producer_id, epoch = self._cluster.new_producer_id()
        return sized_batch(
            w.batch_bytes,
            now_ms,
            record_bytes=w.record_bytes,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=0,
        )

    def _fetch_template(self, partitions: Sequence[int]) -> Template:
        w = self.workload
        ranges = {p: self._cluster.offsets(self.layout, p) for p in partitions}
        return fetch_request(
            self._version,
            {self.layout.name: ranges},
            max_bytes=w.fetch_bytes * len(partitions),
            partition_max_bytes=w.fetch_bytes,
        )


def fill(cluster: ClusterLike, workload: Workload, layout: TopicLayout) -> None:
    """Writes what a fetch workload is going to read: fill_bytes in batches of batch_bytes."""
    writer = replace(
        workload,
        name="fill",
        kind="produce",
        in_flight=8,
        connections=max(1, len(set(layout.leaders.values()))),
        acks=1,
        idempotent=False,
        discard=False,
        verify_crc=False,
        api_version=0,
    )
    with Load(cluster, writer, layout) as load:
        load.run(max_requests=-(-workload.fill_bytes // workload.batch_bytes))


def topic_name(label: str, workload: Workload) -> str:
    return f"{label}-{workload.name}-{random.SystemRandom().randrange(1 << 32):08x}"


def prepare_topic(cluster: ClusterLike, workload: Workload, name: str = "") -> TopicLayout:
    """A fresh topic for the workload, filled if it is going to be fetched."""
    layout = cluster.create_topic(name or topic_name("load", workload), workload.partitions)
    if workload.kind == "fetch":
        fill(cluster, workload, layout)
    return layout
