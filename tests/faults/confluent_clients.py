"""What librdkafka's clients do in the fault tests. Each role runs until its work is to stop.

A client that meets a fatal error is made anew, as its users do; each life has a name of its own.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from tests.faults.client import (
    DELIVERY_TIMEOUT_MS,
    FINISH_TIMEOUT_S,
    REQUEST_TIMEOUT_MS,
    TRANSACTION_TIMEOUT_MS,
    Work,
    now_ms,
)
from tests.faults.history import Moved, Poll, Record, Result, Send, Transaction

#: Of the records of a producer that are not acknowledged yet.
QUEUED_MAX: Final = 2000
COPY_PREFIX: Final = "copy of "
_CALL_TIMEOUT_S: Final = 30.0


def common(work: Work) -> dict[str, Any]:
    timeout_ms = work.number("timeout_ms", REQUEST_TIMEOUT_MS)
    return {
        "bootstrap.servers": work.bootstrap,
        "client.id": work.name,
        "socket.timeout.ms": timeout_ms,
        "socket.connection.setup.timeout.ms": timeout_ms,
        "topic.metadata.refresh.interval.ms": work.number("refresh_ms", 300_000),
        "reconnect.backoff.max.ms": 500,
        "log_level": 0,
        "error_cb": lambda error: None,
    }


def producing(work: Work) -> dict[str, Any]:
    return {
        **common(work),
        "linger.ms": 2,
        "request.timeout.ms": work.number("timeout_ms", REQUEST_TIMEOUT_MS),
        "message.timeout.ms": DELIVERY_TIMEOUT_MS,
        "retry.backoff.max.ms": 500,
    }


def consuming(work: Work, group: str, *, committed_only: bool) -> dict[str, Any]:
    return {
        **common(work),
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed" if committed_only else "read_uncommitted",
        "session.timeout.ms": 10_000,
        "fetch.wait.max.ms": 200,
    }


class Sender:
    """One life of a producer, whose every record goes into the history."""

    def __init__(self, work: Work, life: int, settings: dict[str, Any], acks: str = "all") -> None:
        self.work = work
        self.name = f"{work.name}.{life}"
        self.acks = acks
        self.producer = Producer(settings)
        self.fatal = False
        self._numbers = itertools.count()

    def send(self, topic: str, partition: int, value: str, transaction: str = "") -> None:
        number, begin_ms = next(self._numbers), now_ms()

        def delivered(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            self.work.tell(
                Send(
                    self.name,
                    number,
                    begin_ms,
                    now_ms(),
                    topic,
                    partition,
                    value,
                    # Whatever went wrong, it may have been written before.
                    "ok" if error is None else "info",
                    -1 if error is not None or offset is None else offset,
                    "1" if self.acks == "1" else "all",
                    transaction,
                    "" if error is None else str(error),
                )
            )
            if error is not None and not transaction:
                self.work.trouble(error)
                self.fatal = self.fatal or error.fatal()

        self.producer.produce(topic, value, partition=partition, on_delivery=delivered)


def write(work: Work) -> None:
    """Numbered records to every partition in turn."""
    (topic,) = work.topics()
    partitions, acks = work.number("partitions", 6), work.options.get("acks", "all")
    pause_s = 1 / work.number("rate", 100)
    for life in work.lives():
        settings = {**producing(work), "acks": acks, "enable.idempotence": acks == "all"}
        sender = Sender(work, life, settings, acks)
        for number in itertools.count():
            if work.stopped or sender.fatal:
                break
            if len(sender.producer) < QUEUED_MAX:
                sender.send(topic, number % partitions, f"{sender.name}.{number}")
            sender.producer.poll(0)
            work.pause(pause_s)
        left = sender.producer.flush(FINISH_TIMEOUT_S)
        if left:
            work.trouble(f"{left} records without an answer")
        if work.stopped:
            return
        work.trouble("fatal error", fatal=True)


class Ended(NamedTuple):
    """goes_on: the producer can be used for another transaction."""

    result: Result
    error: str
    goes_on: bool


def end(sender: Sender, commit: bool) -> Ended:
    """Commits or aborts, until it is known what became of it."""
    producer, error = sender.producer, ""
    for _ in range(6):
        sender.work.comes_further()
        try:
            if commit:
                producer.commit_transaction(_CALL_TIMEOUT_S)
                return Ended("ok", error, True)
            producer.abort_transaction(_CALL_TIMEOUT_S)
            return Ended("fail", error, True)
        except KafkaException as raised:
            problem: KafkaError = raised.args[0]
            error = str(problem)
            if commit and problem.txn_requires_abort():
                # It says so when the transaction cannot have been committed.
                commit = False
            elif not problem.retriable():
                break
    # Whoever never asked for a commit knows that there was none.
    return Ended("info" if commit else "fail", error, False)


def transactional(work: Work) -> dict[str, Any]:
    return {
        **producing(work),
        "transactional.id": work.name,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }


def transactional_senders(work: Work) -> Iterator[tuple[int, Sender]]:
    """Transactional producers with their lives, until the work stops; a life in which none can be
    had is passed over.
    """
    for life in work.lives():
        if work.stopped:
            return
        sender = Sender(work, life, transactional(work))
        try:
            sender.producer.init_transactions(_CALL_TIMEOUT_S)
        except KafkaException as raised:
            work.trouble(raised.args[0], fatal=True)
            continue
        yield life, sender


def transact(work: Work) -> None:
    """Transactions over several partitions, some of them aborted."""
    (topic,) = work.topics()
    partitions = work.number("partitions", 6)
    rng = random.Random(work.name)
    for _, sender in transactional_senders(work):
        for number in itertools.count():
            if work.stopped:
                return
            name, begin_ms = f"{sender.name}.{number}", now_ms()
            try:
                sender.producer.begin_transaction()
                for part in range(4):
                    sender.send(topic, rng.randrange(partitions), f"{name}.{part}", name)
                    sender.producer.poll(0.01)
                asked = rng.random() < 0.8
                ended = end(sender, asked)
            except (KafkaException, BufferError) as raised:
                ended = Ended("fail", str(raised), False)
            work.tell(Transaction(name, begin_ms, now_ms(), ended.result, ended.error))
            if not ended.goes_on:
                work.trouble(ended.error, fatal=True)
                break
            work.pause(0.1)


class Reader:
    """One life of a consumer, whose every poll goes into the history."""

    def __init__(self, work: Work, life: int, group: str, *, committed_only: bool) -> None:
        self.work = work
        self.name = f"{work.name}.{life}"
        self.group = group
        self.committed_only = committed_only
        self.ended: set[tuple[str, int]] = set()
        #: the last answered commit failed: with no more records nobody would ask again
        self.commits_again = False
        settings = consuming(work, group or work.name, committed_only=committed_only)
        settings |= {"enable.partition.eof": not group, "on_commit": self._committed}
        self.consumer = Consumer(settings)

    def subscribe(self) -> None:
        self.consumer.subscribe(self.work.topics(), on_assign=self._assigned)

    def assign(self, partitions: int) -> None:
        """All partitions, from their beginning."""
        places = [(topic, p, 0) for topic in self.work.topics() for p in range(partitions)]
        self.work.tell(Moved(self.name, tuple(places)))
        self.consumer.assign([TopicPartition(*place) for place in places])

    def commit(self) -> None:
        """Of what was given; the answer comes with a later poll."""
        self.commits_again = False
        try:
            self.consumer.commit(asynchronous=True)
        except KafkaException as raised:
            if raised.args[0].code() != KafkaError._NO_OFFSET:  # nothing since the assignment
                raise

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        self.commits_again = error is not None and error.code() != KafkaError._NO_OFFSET

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self.moved((one.topic, one.partition, -1) for one in partitions)

    def moved(self, positions: Iterable[tuple[str, int, int]]) -> None:
        self.work.tell(Moved(self.name, tuple(positions)))

    def poll(self, most: int = 500, timeout_s: float = 0.5) -> list[Message]:
        """Records; errors go into the history."""
        begin_ms = now_ms()
        good = []
        for message in self.consumer.consume(most, timeout_s):
            error = message.error()
            place = (message.topic() or "", message.partition() or 0)
            if error is None:
                good.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ended.add(place)
            else:
                self.work.trouble(error)
        if good:
            records = tuple(record_of(message) for message in good)
            self.work.tell(
                Poll(self.name, begin_ms, now_ms(), records, self.committed_only, self.group)
            )
        return good


def record_of(message: Message) -> Record:
    value = message.value()
    assert isinstance(value, bytes)
    return Record(
        message.topic() or "", message.partition() or 0, message.offset() or 0, value.decode()
    )


def read(work: Work) -> None:
    """Follows all partitions of its topics; with end=1 until their end only."""
    reader = Reader(work, next(work.lives()), "", committed_only=work.number("committed", 0) == 1)
    partitions = work.number("partitions", 6)
    reader.assign(partitions)
    to_end = work.number("end", 0) == 1
    while not work.stopped:
        reader.poll()
        if to_end and len(reader.ended) == partitions * len(work.topics()):
            break
    reader.consumer.close()


def belong(work: Work) -> None:
    """A member of a group, which commits what it was given."""
    for life in work.lives():
        reader = Reader(work, life, work.options["group"], committed_only=False)
        reader.subscribe()
        try:
            while not work.stopped:
                if reader.poll() or reader.commits_again:
                    reader.commit()
            return
        except KafkaException as raised:
            work.trouble(raised.args[0], fatal=True)
        finally:
            reader.consumer.close()


def copy(work: Work) -> None:
    """Copies a topic to another in transactions, as a member of a group."""
    source, target = work.topics()
    work.options["topics"] = source
    for life, sender in transactional_senders(work):
        reader = Reader(work, life, work.options["group"], committed_only=True)
        reader.subscribe()
        try:
            for number in itertools.count():
                if work.stopped:
                    return
                messages = reader.poll(100, 0.2)
                if messages and not copy_some(reader, sender, messages, target, number):
                    break
        finally:
            reader.consumer.close()


def copy_some(
    reader: Reader, sender: Sender, messages: list[Message], target: str, number: int
) -> bool:
    """One transaction; returns whether the producer can be used any more."""
    name, begin_ms = f"{sender.name}.{number}", now_ms()
    first: dict[tuple[str, int], int] = {}
    after: dict[tuple[str, int], int] = {}
    try:
        sender.producer.begin_transaction()
        for topic, partition, offset, value in map(place_of, messages):
            first.setdefault((topic, partition), offset)
            after[topic, partition] = offset + 1
            sender.send(target, partition, COPY_PREFIX + value, name)
        offsets = [TopicPartition(*place, offset) for place, offset in after.items()]
        sender.producer.send_offsets_to_transaction(
            offsets, reader.consumer.consumer_group_metadata(), _CALL_TIMEOUT_S
        )
        ended = end(sender, True)
    except (KafkaException, BufferError) as raised:
        ended = end(sender, False)._replace(error=str(raised))
    reader.work.tell(Transaction(name, begin_ms, now_ms(), ended.result, ended.error))
    if not ended.goes_on:
        reader.work.trouble(ended.error, fatal=True)
    elif ended.result != "ok":
        for place, offset in first.items():
            try:
                reader.consumer.seek(TopicPartition(*place, offset))
            except KafkaException:
                continue  # not its own any more
        reader.moved((*place, -1) for place in first)
    return ended.goes_on


def place_of(message: Message) -> tuple[str, int, int, str]:
    record = record_of(message)
    return record.topic, record.partition, record.offset, record.value


ROLES: Final[dict[str, Callable[[Work], None]]] = {
    "write": write,
    "transact": transact,
    "read": read,
    "belong": belong,
    "copy": copy,
}
