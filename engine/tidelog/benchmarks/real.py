"""The workloads with a real client: librdkafka by confluent-kafka, every producer and consumer in a
process of its own (real_workers).

Owned by the process of the command, which watches them. What bounds a result is most often the
Python loop in those processes; each tells how busy it was.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tidelog.benchmarks import real_workers
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.machine import Meter, client_warning
from tidelog.benchmarks.native import CATCH_UP_S, POLL_S, Sampler
from tidelog.benchmarks.native_load import BenchError, Place
from tidelog.benchmarks.real_workers import Order, Outcome
from tidelog.benchmarks.results import Round
from tidelog.benchmarks.stage import (
    REQUEST_TIMEOUT_S,
    Target,
    Tell,
    close_after_failure,
    topic_name,
)
from tidelog.benchmarks.workloads import Workload

KINDS: Final = frozenset({"produce", "consume", "pipeline", "backlog", "transactions"})
READY_TIMEOUT_S: Final = 120.0
START_AHEAD_NS: Final = 200_000_000
LAG_S: Final = 0.1
_spawn = multiprocessing.get_context("spawn")


@contextmanager
def _interrupt_waits() -> Iterator[None]:
    """Ctrl-C comes after the block. A process whose parent gives up while it hands over the order
    ends with a traceback of its own. It inherits the mask, too: Ctrl-C is not for it."""
    resource_tracker.ensure_running()  # its first start would end the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """One process, its pipe and its progress."""

    def __init__(self, main: Callable[..., None], order: Order) -> None:
        self.order = order
        self.progress: Any = RawArray("q", 2)
        self.outcome: Outcome | None = None
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(
            target=main, args=(theirs, order, self.progress), daemon=True
        )
        with _interrupt_waits():
            self._process.start()
        theirs.close()  # or nobody would notice when the worker ends

    def receive(self, timeout_s: float) -> Any:
        """The next message. Raises BenchError when there is none."""
        try:
            if self._pipe.poll(timeout_s):
                message = self._pipe.recv()
                if isinstance(message, Outcome):
                    self.outcome = message
                    if message.error:
                        raise BenchError(message.error)
                return message
        except (EOFError, ConnectionError):
            raise BenchError("a client's process has ended") from None
        raise BenchError(f"a client did not answer in {timeout_s:.0f} s")

    def tell(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionError):
            return  # what it ended with is received later

    @property
    def running(self) -> bool:
        return self._process.is_alive() and not self._pipe.poll()

    def close(self) -> None:
        pipe: Connection = self._pipe
        pipe.close()
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


class Workers:
    """Several of them, watched as one."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    @property
    def progress(self) -> tuple[int, int, int]:
        """(0, records, bytes)."""
        return (
            0,
            sum(worker.progress[0] for worker in self.workers),
            sum(worker.progress[1] for worker in self.workers),
        )

    def outcomes(self, timeout_s: float) -> list[Outcome]:
        for worker in self.workers:
            if worker.outcome is None:
                worker.receive(timeout_s)
        return [worker.outcome for worker in self.workers if worker.outcome is not None]


class RealStage:
    """A broker, topics of a round, and the processes of the clients."""

    def __init__(
        self, target: Target, workload: Workload, tell: Tell, settings: Mapping[str, str]
    ) -> None:
        self.target, self.workload, self.tell = target, workload, tell
        self.meter = Meter(target.pid)
        self.common: dict[str, Any] = {
            "bootstrap.servers": target.bootstrap,
            "client.id": "tidelog-bench",
            "log_level": 2,
            **settings,
        }
        self._admin = AdminClient(self.only("admin"))
        self.topics: list[str] = []
        self._workers: list[Worker] = []

    def only(self, role: str, **more: Any) -> dict[str, Any]:
        """The settings of a producer, a consumer or an admin client; the user's come last."""
        w = self.workload
        found: dict[str, Any] = {}
        if role == "producer":
            found = {
                "acks": w.acks_number,
                "linger.ms": w.linger_ms,
                "batch.size": w.batch_bytes,
                "compression.type": w.codec,
                "enable.idempotence": w.idempotent,
                "max.in.flight.requests.per.connection": w.in_flight,
                "message.max.bytes": max(1_000_000, w.batch_bytes, w.record_bytes) + 10_000,
                "queue.buffering.max.messages": 100_000,
            }
        elif role == "consumer":
            found = {
                "group.id": topic_name("group"),
                "enable.auto.commit": False,
                "fetch.wait.max.ms": w.fetch_wait_ms,
                "check.crcs": w.verify_crc,
                "fetch.message.max.bytes": max(w.fetch_bytes, w.record_bytes + 10_000),
            }
        return found | more | self.common

    def make_topics(self) -> None:
        """Raises BenchError."""
        w = self.workload
        names = [topic_name(w.name) for _ in range(w.topics)]
        wanted = [NewTopic(n, w.partitions, w.replication_factor, config=w.configs) for n in names]
        self.topics += names
        for name, future in self._admin.create_topics(
            wanted, operation_timeout=REQUEST_TIMEOUT_S
        ).items():
            try:
                future.result(REQUEST_TIMEOUT_S)
            except KafkaException as error:
                raise BenchError(f"topic {name}: {real_workers.told(error.args[0])}") from error

    def ends(self) -> dict[Place, int]:
        """The log end offset of every partition. Raises KafkaException."""
        consumer = Consumer(self.only("consumer"))
        try:
            return {
                (topic, partition): consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), READY_TIMEOUT_S, cached=False
                )[1]
                for topic in self.topics
                for partition in range(self.workload.partitions)
            }
        finally:
            consumer.close()

    def start(self, main: Callable[..., None], orders: Sequence[Order]) -> Workers:
        """Workers that are ready. Raises BenchError."""
        started = [Worker(main, order) for order in orders]
        self._workers += started
        for worker in started:
            worker.receive(READY_TIMEOUT_S + worker.order.warmup_s)
        return Workers(started)

    def producers(self, **more: Any) -> Workers:
        w = self.workload
        values: dict[str, Any] = {
            "record_bytes": w.record_bytes,
            "keys": w.keys,
            "rate": w.rate / w.producers,
            "seconds": w.seconds,
            "max_records": max(1, w.max_bytes // w.record_bytes // w.producers),
            "warmup_s": w.warmup_s,
        } | more
        ids = [topic_name("id") for _ in range(w.producers)]
        transactional = bool(values.get("commit_interval_s"))
        orders = [
            Order(
                self.only("producer", **({"transactional.id": name} if transactional else {})),
                self.topics,
                **values,
            )
            for name in ids
        ]
        return self.start(real_workers.produce, orders)

    def consumers(
        self, starts: Mapping[Place, int], *, read_committed: bool = False, late: bool = False
    ) -> Workers:
        """Of all groups; each gets its partitions, nobody shares one."""
        w, places = self.workload, list(starts)
        level = "read_committed" if read_committed else "read_uncommitted"
        orders = [
            Order(
                self.only("consumer", **{"isolation.level": level}),
                self.topics,
                assigned=[(t, p, starts[t, p]) for t, p in places[number :: w.consumers]],
                assign_late=late,
            )
            for _ in range(w.groups)
            for number in range(min(w.consumers, len(places)))
        ]
        return self.start(real_workers.consume, orders)

    def close(self) -> None:
        """Ends the processes, deletes the topics. Raises BenchError."""
        while self._workers:
            self._workers[-1].close()
            self._workers.pop()
        if self.topics:
            deleted = self._admin.delete_topics(self.topics, operation_timeout=REQUEST_TIMEOUT_S)
            for name, future in deleted.items():
                try:
                    future.result(REQUEST_TIMEOUT_S)
                except KafkaException as error:
                    if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                        text = real_workers.told(error.args[0])
                        raise BenchError(f"topic {name} was not deleted: {text}") from error
        self.topics.clear()


@contextmanager
def opened(
    target: Target, workload: Workload, tell: Tell, settings: Mapping[str, str]
) -> Iterator[RealStage]:
    """Raises BenchError for whatever the client reports."""
    try:
        stage = RealStage(target, workload, tell, settings)
        try:
            yield stage
        except BaseException:
            close_after_failure(stage.close, (BenchError, KafkaException))
            raise
        stage.close()
    except KafkaException as error:
        raise BenchError(f"{target.bootstrap}: {real_workers.told(error.args[0])}") from error


def run(
    stage: RealStage,
    writers: Workers | None,
    readers: Workers | None,
    *,
    written_before: int = 0,
    drained: Callable[[int], bool] | None = None,
) -> Round:
    """Lets them run together. written_before: records that the readers have to read first;
    drained: told how many are left, it says whether that is the end."""
    w = stage.workload
    start_at_ns = time.monotonic_ns() + START_AHEAD_NS
    every_s = 1.0 if w.seconds >= 5 else w.seconds / 10
    sampler = Sampler(writers, readers, every_s, start_at_ns / 1e9)
    both = [worker for group in (writers, readers) if group for worker in group.workers]
    stage.meter.start()
    for worker in both:
        worker.tell(start_at_ns)

    def left() -> int:
        written = written_before + (writers.progress[1] if writers else 0)
        return written * w.groups - (readers.progress[1] if readers else 0)

    while sampler.elapsed_s < w.seconds and all(worker.running for worker in both):
        time.sleep(POLL_S)
        sampler.look()
        stage.tell("measuring", min(1.0, max(0.0, sampler.elapsed_s) / w.seconds))
        if drained and sampler.elapsed_s > 0 and drained(left()):
            break
    drain_s = sampler.elapsed_s
    outcomes = finish(stage, writers, readers, left, sampler)
    found = round_of(stage, writers, readers, outcomes, sampler)
    if drained is None or sampler.elapsed_s <= 0:
        return found
    figures = dict(found.figures) | {"drain_s": drain_s}
    figures["consumed_records_per_s"] = written_before * w.groups / max(drain_s, 1e-9)
    figures.pop("consumed_mb_per_s", None)
    return Round(
        figures, found.latencies, found.seconds, found.counts, found.load_before,
        found.load_after, found.warnings,
    )  # fmt: skip


def finish(
    stage: RealStage,
    writers: Workers | None,
    readers: Workers | None,
    left: Callable[[], int],
    sampler: Sampler,
) -> list[list[Outcome]]:
    """Ends the writers, lets the readers catch up, ends them. Outcomes of writers and readers."""
    written: list[Outcome] = []
    if writers:
        for worker in writers.workers:
            worker.tell("stop")
        written = writers.outcomes(READY_TIMEOUT_S)
    deadline_s = time.monotonic() + CATCH_UP_S
    while writers and readers and left() > 0 and time.monotonic() < deadline_s:
        time.sleep(POLL_S / 4)
        sampler.look()
    sampler.look(end=True)
    stage.meter.finish()
    read: list[Outcome] = []
    if readers:
        for worker in readers.workers:
            worker.tell("stop")
        read = readers.outcomes(READY_TIMEOUT_S)
    return [written, read]


def round_of(
    stage: RealStage,
    writers: Workers | None,
    readers: Workers | None,
    outcomes: Sequence[Sequence[Outcome]],
    sampler: Sampler,
) -> Round:
    written, read = outcomes
    w = stage.workload
    figures: dict[str, float] = {}
    counts: dict[str, int] = {}
    latencies: dict[str, Histogram] = {}
    warnings: list[str] = []
    for one in (*written, *read):
        for name, histogram in one.latencies.items():
            latencies.setdefault(name, Histogram()).merge(histogram)
    if writers:
        elapsed_s = max(one.elapsed_s for one in written)
        records = sum(one.records for one in written)
        size = sum(one.payload_bytes for one in written)
        figures |= {"records_per_s": records / elapsed_s, "mb_per_s": size / 1e6 / elapsed_s}
        counts |= {"written_records": records, "written_bytes": size}
        transactions = sum(one.transactions for one in written)
        if transactions:
            figures["transactions_per_s"] = transactions / elapsed_s
            counts["transactions"] = transactions
        behind = sum(one.behind for one in written)
        if w.rate:
            figures |= {"target_records_per_s": w.rate, "unsent_requests": float(behind)}
        if behind > w.rate * LAG_S:
            warnings.append(f"the rate was not kept: {behind} records were due and never sent")
    if readers:
        elapsed_s = max(sampler.elapsed_s, 1e-9)
        records = sum(one.records for one in read)
        size = sum(one.payload_bytes for one in read)
        figures |= {
            "consumed_records_per_s": records / elapsed_s,
            "consumed_mb_per_s": size / 1e6 / elapsed_s,
        }
        counts |= {"read_records": records, "read_bytes": size}
    if not w.rate:  # nothing says when a record was due
        latencies.pop("end_to_end", None)
    shares = [one.thread_s / max(one.elapsed_s, 1e-9) for one in (*written, *read)]
    figures |= {"client_cpu_share": max(shares, default=0.0), "elapsed_s": stage.meter.elapsed_s}
    stage.meter.more_client_cpu_s = sum(one.cpu_s for one in (*written, *read))
    moved = counts.get("written_bytes", 0) + counts.get("read_bytes", 0)
    return Round(
        figures | stage.meter.figures(moved),
        {name: histogram for name, histogram in latencies.items() if histogram.count},
        sampler.seconds,
        counts,
        stage.meter.before.load_average,
        stage.meter.after.load_average,
        [*warnings, *client_warning("Python", max(shares, default=0.0)), *stage.meter.warnings()],
    )


def fill(stage: RealStage) -> int:
    """Writes the backlog; returns its records."""
    w = stage.workload
    wanted = max(1, w.backlog_bytes // w.record_bytes // w.producers)
    workers = stage.producers(rate=0.0, seconds=3600.0, max_records=wanted, warmup_s=0.0)
    for worker in workers.workers:
        worker.tell(time.monotonic_ns())
    while any(worker.running for worker in workers.workers):
        time.sleep(POLL_S)
        stage.tell("writing the backlog", workers.progress[1] / (wanted * w.producers))
    return sum(one.records for one in workers.outcomes(READY_TIMEOUT_S))


def measure(target: Target, workload: Workload, tell: Tell, settings: Mapping[str, str]) -> Round:
    """One round. Raises BenchError."""
    with opened(target, workload, tell, settings) as stage:
        stage.make_topics()
        tell("starting the clients", 0.0)
        if workload.kind in ("consume", "backlog"):
            return measure_backlog(stage)
        if workload.kind == "produce":
            return run(stage, stage.producers(), None)
        more = {}
        if workload.kind == "transactions":
            more = {"commit_interval_s": workload.commit_interval_ms / 1000, "warmup_s": 0.0}
        writers = stage.producers(**more)
        readers = stage.consumers(stage.ends(), read_committed=workload.kind == "transactions")
        return run(stage, writers, readers)


def measure_backlog(stage: RealStage) -> Round:
    """Reads what was written before, once: alone, or while writing goes on."""
    w = stage.workload
    backlog = fill(stage)
    starts = dict.fromkeys(stage.ends(), 0)
    writers = stage.producers(warmup_s=0.0) if w.kind == "backlog" else None
    readers = stage.consumers(starts, late=True)
    slack = w.rate * LAG_S * w.groups if writers else 0
    found = run(stage, writers, readers, written_before=backlog, drained=lambda left: left <= slack)
    if writers:
        # What was written before the run was due long ago.
        kept = {name: h for name, h in found.latencies.items() if name != "end_to_end"}
        return Round(
            found.figures, kept, found.seconds, found.counts, found.load_before,
            found.load_after, found.warnings,
        )  # fmt: skip
    return found
