"""Producers and consumers by librdkafka (confluent-kafka), each in a process of its own.

The process is started by `tidelog.benchmarks.real`, which talks to it over a pipe: "ready", then
the time (CLOCK_MONOTONIC, ns, common to all processes) at which the run begins, then what was done.
A worker ends when the pipe does, and leaves Ctrl-C to the one who started it.
"""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tidelog.benchmarks.batches import payloads
from tidelog.benchmarks.histogram import Histogram

FLUSH_S: Final = 60.0
POLL_S: Final = 0.0005
WAIT_S: Final = 0.05
READ_AT_ONCE: Final = 1_000
#: Different values: enough that a codec does not see one twice in its window.
PAYLOADS: Final = 256
#: A record's first bytes say when it was due (ns); 0: it does not count.
DUE: Final = struct.Struct(">q")


@dataclass
class Order:
    """What a worker has to do. rate: records a second of this one, 0: as fast as can be."""

    settings: dict[str, Any]
    topics: list[str]
    record_bytes: int = 1024
    keys: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    max_records: int = 0
    warmup_s: float = 0.0
    commit_interval_s: float = 0.0
    #: (topic, partition, offset) of a consumer
    assigned: list[tuple[str, int, int]] = field(default_factory=list)
    #: the library fetches ahead: a backlog has to lie there until the clock runs
    assign_late: bool = False


@dataclass
class Outcome:
    """What a worker has done. cpu_s: of the whole process; thread_s: of its Python thread."""

    records: int = 0
    payload_bytes: int = 0
    failed: int = 0
    error: str = ""
    behind: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    thread_s: float = 0.0
    transactions: int = 0
    latencies: dict[str, Histogram] = field(default_factory=dict)


def produce(pipe: Connection, order: Order, progress: MutableSequence[int]) -> None:
    """A producer's process. progress: records and bytes so far."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(pipe, lambda: _Writer(order, progress).run(pipe))


def consume(pipe: Connection, order: Order, progress: MutableSequence[int]) -> None:
    """A consumer's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(pipe, lambda: _Reader(order, progress).run(pipe))


def work(pipe: Connection, run: Callable[[], Outcome]) -> None:
    try:
        try:
            outcome = run()
        except KafkaException as error:
            outcome = Outcome(error=told(error.args[0]))
        pipe.send(outcome)
    except (EOFError, ConnectionError):
        return  # nobody wants it any more


def told(error: KafkaError) -> str:
    return f"{error.str()} ({error.name()})"


def begin(pipe: Connection) -> int:
    """Waits for the run's beginning, and for when that is."""
    start_at_ns = int(pipe.recv())
    while time.monotonic_ns() < start_at_ns:
        time.sleep(POLL_S)
    return start_at_ns


class _Clock:
    """CPU and time of a run that has begun at start_at_ns."""

    def __init__(self, start_at_ns: int) -> None:
        self._began = (start_at_ns / 1e9, time.process_time(), time.thread_time())

    def note(self, outcome: Outcome) -> None:
        elapsed_s, cpu_s, thread_s = self._began
        outcome.elapsed_s = time.monotonic() - elapsed_s
        outcome.cpu_s = time.process_time() - cpu_s
        outcome.thread_s = time.thread_time() - thread_s


class _Writer:
    def __init__(self, order: Order, progress: MutableSequence[int]) -> None:
        self._order = order
        self._progress = progress
        self._producer = Producer(order.settings)
        self._values = [
            value[DUE.size :] for value in payloads(PAYLOADS, max(order.record_bytes, DUE.size), 1)
        ]
        self._latency = Histogram()
        self._outcome = Outcome()
        self._sent = 0
        if order.commit_interval_s:
            self._producer.init_transactions(FLUSH_S)

    def run(self, pipe: Connection) -> Outcome:
        order = self._order
        if order.warmup_s:
            self._stretch(time.monotonic_ns(), order.warmup_s, counts=False)
        if self._outcome.error:
            return self._outcome
        pipe.send("ready")
        start_at_ns = begin(pipe)
        self._outcome, self._latency, self._sent = Outcome(), Histogram(), 0
        clock = _Clock(start_at_ns)
        if order.commit_interval_s:
            self._transactions(start_at_ns, pipe)
        else:
            self._stretch(start_at_ns, order.seconds, counts=True, pipe=pipe)
        clock.note(self._outcome)
        self._outcome.latencies["produce"] = self._latency
        return self._outcome

    def _stretch(
        self, start_ns: int, seconds: float, *, counts: bool, pipe: Connection | None = None
    ) -> None:
        """Sends until the time is over, max_records are sent or something comes over the pipe;
        waits for what is not delivered."""
        order, end_ns = self._order, start_ns + int(seconds * 1e9)
        while (now_ns := time.monotonic_ns()) < end_ns and not self._outcome.error:
            if counts and order.max_records and self._sent >= order.max_records:
                break
            if pipe is not None and pipe.poll():
                break
            if order.rate:
                due = int((now_ns - start_ns) / 1e9 * order.rate) + 1
                if due <= self._sent:
                    self._producer.poll(POLL_S)
                    continue
                self._send_due(start_ns, min(due, self._sent + 1000), counts)
            else:
                left = order.max_records - self._sent if counts and order.max_records else 1000
                for _ in range(min(1000, left)):
                    self._send(time.monotonic_ns(), counts)
            self._producer.poll(0)
        if counts and order.rate:
            lasted_s = min(seconds, (time.monotonic_ns() - start_ns) / 1e9)
            self._outcome.behind = max(0, int(lasted_s * order.rate) - self._sent)
        left = self._producer.flush(FLUSH_S)
        if left and not self._outcome.error:
            self._outcome.error = f"{left} records were not answered in {FLUSH_S:.0f} s"
        if not counts:
            self._sent = 0

    def _send_due(self, start_ns: int, until: int, counts: bool) -> None:
        interval_ns = 1e9 / self._order.rate
        while self._sent < until:
            self._send(start_ns + int(self._sent * interval_ns), counts)

    def _send(self, due_ns: int, counts: bool) -> None:
        order, number = self._order, self._sent
        self._sent += 1
        value = DUE.pack(due_ns if counts else 0) + self._values[number % PAYLOADS]
        key = b"%010d" % (number * 7919 % order.keys) if order.keys else None
        topic = order.topics[number % len(order.topics)]
        size = len(value)

        def delivered(error: KafkaError | None, _: Message) -> None:
            self._delivered(error, due_ns, size)

        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered)
                return
            except BufferError:  # the library's queue is full
                self._producer.poll(WAIT_S)

    def _delivered(self, error: KafkaError | None, due_ns: int, size: int) -> None:
        if error is not None:
            self._outcome.failed += 1
            self._outcome.error = self._outcome.error or told(error)
            return
        self._latency.record(time.monotonic_ns() - due_ns)
        self._outcome.records += 1
        self._outcome.payload_bytes += size
        self._progress[0] = self._outcome.records
        self._progress[1] = self._outcome.payload_bytes

    def _transactions(self, start_ns: int, pipe: Connection) -> None:
        order, outcome = self._order, self._outcome
        whole, commits = Histogram(), Histogram()
        end_ns = start_ns + int(order.seconds * 1e9)
        per_interval_ns = int(order.commit_interval_s * 1e9)
        while (began_ns := time.monotonic_ns()) < end_ns and not outcome.error and not pipe.poll():
            self._producer.begin_transaction()
            until_ns = began_ns + per_interval_ns
            first, self._sent = self._sent, 0
            while (now_ns := time.monotonic_ns()) < until_ns:
                due = int((now_ns - began_ns) / 1e9 * order.rate) + 1 if order.rate else 100
                wanted = min(due, self._sent + 100) if order.rate else self._sent + 100
                while self._sent < wanted:
                    self._send(now_ns, True)
                self._producer.poll(POLL_S if order.rate else 0)
            self._sent += first
            commit_ns = time.monotonic_ns()
            self._producer.commit_transaction(FLUSH_S)
            ended_ns = time.monotonic_ns()
            commits.record(ended_ns - commit_ns)
            whole.record(ended_ns - began_ns)
            outcome.transactions += 1
        outcome.latencies |= {"transaction": whole, "commit": commits}


class _Reader:
    def __init__(self, order: Order, progress: MutableSequence[int]) -> None:
        self._order = order
        self._progress = progress
        self._consumer = Consumer(order.settings)
        self._outcome = Outcome()

    def run(self, pipe: Connection) -> Outcome:
        """Reads until something comes over the pipe."""
        places = [TopicPartition(t, p, o) for t, p, o in self._order.assigned]
        if not self._order.assign_late:
            self._consumer.assign(places)
        pipe.send("ready")
        start_at_ns = begin(pipe)
        if self._order.assign_late:
            self._consumer.assign(places)
        clock, delays = _Clock(start_at_ns), Histogram()
        while not pipe.poll() and not self._outcome.error:
            messages = self._consumer.consume(READ_AT_ONCE, WAIT_S)
            self._take(messages, time.monotonic_ns(), delays)
        clock.note(self._outcome)
        self._consumer.close()
        self._outcome.latencies["end_to_end"] = delays
        return self._outcome

    def _take(self, messages: Sequence[Message], now_ns: int, delays: Histogram) -> None:
        outcome = self._outcome
        for message in messages:
            error = message.error()
            if error is not None:
                if error.fatal() or not error.retriable():
                    outcome.error = outcome.error or told(error)
                continue
            value = message.value() or b""
            (due_ns,) = DUE.unpack_from(value)
            if due_ns:
                delays.record(now_ns - due_ns)
            outcome.records += 1
            outcome.payload_bytes += len(value)
        self._progress[0] = outcome.records
        self._progress[1] = outcome.payload_bytes
