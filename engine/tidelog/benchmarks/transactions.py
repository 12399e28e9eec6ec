"""Transactional producers of the native client: a commit in an interval, read_committed readers.

Each producer is a thread. It asks the coordinator itself and lets encoded batches go in between, as
many as go or as are due. It speaks the first version of the protocol (KIP-98: AddPartitionsToTxn
before the first batch), which every broker with transactions has.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tidelog.benchmarks.cluster import (
    API_FIND_COORDINATOR,
    API_INIT_PRODUCER_ID,
    Address,
    Cluster,
    Control,
    KafkaError,
    Reader,
    TopicLayout,
    text,
)
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.native import (
    CATCH_UP_S,
    FOREVER_S,
    POLL_S,
    Sampler,
    cpu_share,
    now_ms,
)
from tidelog.benchmarks.native_load import (
    Load,
    Transaction,
    ends_of,
    histogram_of,
    readers,
    writers,
)
from tidelog.benchmarks.results import Round
from tidelog.benchmarks.stage import Stage, topic_name
from tidelog.benchmarks.workloads import Workload

API_ADD_PARTITIONS_TO_TXN: Final = 24
API_END_TXN: Final = 26
TIMEOUT_S: Final = 60.0
RETRY_S: Final = 0.002
#: loading, not available, not coordinator, concurrent transactions
AGAIN: Final = frozenset((14, 15, 16, 51))


class Coordinated:
    """A transactional id at its coordinator. Raises KafkaError for what is refused."""

    def __init__(self, cluster: Cluster, transactional_id: str, places: Sequence[TopicLayout]):
        self.transactional_id = transactional_id
        self._topics = places
        self._control = Control(coordinator_of(cluster, transactional_id), TIMEOUT_S)
        body = text(transactional_id) + struct.pack(">i", int(TIMEOUT_S * 1000))
        answer = self._ask("InitProducerId", API_INIT_PRODUCER_ID, body)
        self.producer_id, self.producer_epoch = answer.unpack("qh")

    def transaction(self) -> Transaction:
        return Transaction(self.transactional_id, self.producer_id, self.producer_epoch)

    def begin(self) -> None:
        """Adds every partition."""
        body = self._who() + struct.pack(">i", len(self._topics))
        for layout in self._topics:
            body += text(layout.name) + struct.pack(">i", len(layout.leaders))
            body += b"".join(struct.pack(">i", partition) for partition in layout.leaders)
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            error_code = first_error(self._control.request(API_ADD_PARTITIONS_TO_TXN, 0, body))
            if not error_code:
                return
            refuse("AddPartitionsToTxn", error_code, deadline_s)

    def commit(self) -> None:
        self._ask("EndTxn", API_END_TXN, self._who() + b"\1")

    def _who(self) -> bytes:
        return text(self.transactional_id) + struct.pack(
            ">qh", self.producer_id, self.producer_epoch
        )

    def _ask(self, name: str, api_key: int, body: bytes) -> Reader:
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._control.request(api_key, 0, body)
            _, error_code = answer.unpack("ih")
            if not error_code:
                return answer
            refuse(name, error_code, deadline_s)

    def close(self) -> None:
        self._control.close()


def first_error(answer: Reader) -> int:
    """The first error code of an answer to AddPartitionsToTxn."""
    found = 0
    answer.one("i")
    for _ in range(answer.one("i")):
        answer.string()
        for _ in range(answer.one("i")):
            _, error_code = answer.unpack("ih")
            found = found or error_code
    return found


def refuse(name: str, error_code: int, deadline_s: float) -> None:
    """Waits for a moment where the request may be sent again. Raises KafkaError where not."""
    if error_code not in AGAIN or time.monotonic() > deadline_s:
        raise KafkaError(name, error_code)
    time.sleep(RETRY_S)


def coordinator_of(cluster: Cluster, transactional_id: str) -> Address:
    """Raises KafkaError."""
    body = text(transactional_id) + b"\1"
    deadline_s = time.monotonic() + TIMEOUT_S
    with Control(cluster.bootstrap, TIMEOUT_S) as control:
        while True:
            answer = control.request(API_FIND_COORDINATOR, 1, body)
            _, error_code = answer.unpack("ih")
            answer.string()
            if not error_code:
                answer.one("i")
                host = answer.string()
                return host or "", answer.one("i")
            refuse("FindCoordinator", error_code, deadline_s)


@dataclass
class Done:
    """What one producer has done."""

    transactions: int = 0
    records: int = 0
    payload_bytes: int = 0
    client_s: float = 0.0
    unsent: int = 0
    whole: Histogram = field(default_factory=Histogram)
    commits: Histogram = field(default_factory=Histogram)
    produce: Histogram = field(default_factory=Histogram)
    error: Exception | None = None


class Producer:
    """One transactional producer on a thread of its own."""

    def __init__(self, cluster: Cluster, workload: Workload, layouts: Sequence[TopicLayout]):
        self.done = Done()
        self._workload = replace(workload, producers=1, rate=workload.rate / workload.producers)
        self._coordinated = Coordinated(cluster, topic_name("id"), layouts)
        self._load = writers(
            cluster,
            self._workload,
            layouts,
            now_ms=now_ms(),
            transaction=self._coordinated.transaction(),
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="bench producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> Done:
        self._thread.join()
        return self.done

    def close(self) -> None:
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._load.close()
        self._coordinated.close()

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._once()
        except Exception as error:
            self.done.error = error

    def _once(self) -> None:
        """One transaction. Its interval begins with the first question to the coordinator."""
        done, interval_s = self.done, self._workload.commit_interval_ms / 1000
        began_ns = time.monotonic_ns()
        self._coordinated.begin()
        left_s = interval_s - (time.monotonic_ns() - began_ns) / 1e9
        self._load.start(seconds=max(left_s, 1e-4))
        counts = self._load.join()
        commit_ns = time.monotonic_ns()
        self._coordinated.commit()
        ended_ns = time.monotonic_ns()
        done.commits.record(ended_ns - commit_ns)
        done.whole.record(ended_ns - began_ns)
        done.produce.merge(histogram_of(counts["latency"]))
        done.client_s += cpu_share(counts) * counts["elapsed_ns"] / 1e9
        done.unsent += counts["unsent"]
        done.records += counts["records"]
        done.payload_bytes += counts["record_bytes"]
        done.transactions += 1


class Together:
    """All producers as one load, for who watches them."""

    def __init__(self, producers: Sequence[Producer]) -> None:
        self._producers = producers

    @property
    def progress(self) -> tuple[int, int, int]:
        done = [producer.done for producer in self._producers]
        return (
            sum(one.transactions for one in done),
            sum(one.records for one in done),
            sum(one.payload_bytes for one in done),
        )


def measure_transactions(stage: Stage) -> Round:
    """A round of the workload. Raises BenchError, KafkaError, OSError."""
    layouts = stage.make_topics()
    w, ends = stage.workload, ends_of(stage.cluster, layouts)
    producers: list[Producer] = []
    try:
        for _ in range(w.producers):
            producers.append(Producer(stage.cluster, w, layouts))
        with readers(
            stage.cluster, w, layouts, mode="tail", starts=ends, ends=ends, read_committed=True
        ) as reader:
            return run_producers(stage, producers, reader)
    finally:
        for producer in producers:
            producer.close()


def run_producers(stage: Stage, producers: Sequence[Producer], reader: Load) -> Round:
    w, together = stage.workload, Together(producers)
    sampler = Sampler(together, reader, 1.0 if w.seconds >= 5 else w.seconds / 10, time.monotonic())
    stage.meter.start()
    reader.start(seconds=FOREVER_S)
    for producer in producers:
        producer.start()
    while all(p.running for p in producers) and reader.running and sampler.elapsed_s < w.seconds:
        time.sleep(POLL_S)
        sampler.look()
        stage.tell("committing", min(1.0, sampler.elapsed_s / w.seconds))
    for producer in producers:
        producer.stop()
    done = [producer.join() for producer in producers]
    elapsed_s = sampler.elapsed_s
    for one in done:
        if one.error is not None:
            raise one.error
    transactions, records, size = together.progress
    wanted = records * w.groups
    deadline_s = time.monotonic() + CATCH_UP_S
    while reader.running and reader.progress[1] < wanted and time.monotonic() < deadline_s:
        time.sleep(POLL_S / 4)
    read_s = sampler.elapsed_s
    sampler.look(end=True)
    stage.meter.finish()
    reader.stop()
    read = reader.join()
    latencies = {"transaction": Histogram(), "commit": Histogram(), "produce": Histogram()}
    for one in done:
        latencies["transaction"].merge(one.whole)
        latencies["commit"].merge(one.commits)
        latencies["produce"].merge(one.produce)
    figures = {
        "transactions_per_s": transactions / elapsed_s,
        "records_per_s": records / elapsed_s,
        "mb_per_s": size / 1e6 / elapsed_s,
        "consumed_records_per_s": read["records"] / max(read_s, 1e-9),
        "client_cpu_share": max([cpu_share(read), *(one.client_s / elapsed_s for one in done)]),
        "elapsed_s": elapsed_s,
    }
    warnings = stage.meter.warnings()
    if read["records"] < wanted:
        warnings.append(f"{wanted - read['records']} committed records were not read")
    return Round(
        figures | stage.meter.figures(size + read["record_bytes"]),
        {name: histogram for name, histogram in latencies.items() if histogram.count},
        sampler.seconds,
        {
            "transactions": transactions,
            "written_records": records,
            "written_bytes": size,
            "read_records": read["records"],
            "unsent_requests": sum(one.unsent for one in done),
        },
        stage.meter.before.load_average,
        stage.meter.after.load_average,
        warnings,
    )
