"""A member of a consumer group as a process of its own:

    python -m tests.clients.group_member --client confluent-kafka --bootstrap B --topic T --group G
        [--protocol P] [--assignor A] [--instance I]

It reads the topic, commits what it read, and tells everything on standard output, a line of JSON
each (`t` is wall-clock time in ms, `g` a generation or member epoch, null when the client does not
tell it):

    {"e": "subscribing", "t"}                  before the client is asked to join
    {"e": "assigned", "g", "p", "t"}           it now has the partitions p, all of them
    {"e": "revoked", "g", "p", "t"}            it gave up some, with p left
    {"e": "lost", "g", "p", "t"}               they were taken from it, with p left
    {"e": "read", "p", "v", "t"}               it read the values v (numbers) from partition p
    {"e": "committed", "p", "o"}               its commit of offset o for partition p was taken
    {"e": "closed", "t"}                       it left cleanly

`stop` on standard input, or its end, makes it leave. The members of tests/compat/go, node and
reference/java tell the same. Owned by whoever started it (group_members.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import aiokafka
import confluent_kafka
import kafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor as AioRange
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor as AioRoundRobin
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyPartitionAssignor as AioSticky,
)
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

AIO_ASSIGNORS = {"range": AioRange, "roundrobin": AioRoundRobin, "sticky": AioSticky}
PYTHON_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}
SESSION_MS = 6_000
HEARTBEAT_MS = 300


def emit(event: str, **fields: object) -> None:
    line = json.dumps({"e": event, "t": time.time_ns() // 1_000_000, **fields})
    print(line, flush=True)


class Owned:
    """The partitions that the member has now."""

    def __init__(self) -> None:
        self.partitions: set[int] = set()

    def assigned(self, generation: int | None, partitions: Iterable[Any]) -> None:
        self.partitions.update(each.partition for each in partitions)
        emit("assigned", g=generation, p=sorted(self.partitions))

    def gone(self, event: str, generation: int | None, partitions: Iterable[Any]) -> None:
        self.partitions.difference_update(each.partition for each in partitions)
        emit(event, g=generation, p=sorted(self.partitions))


def stopped() -> threading.Event:
    """Set when standard input says stop, or ends."""
    event = threading.Event()

    def wait() -> None:
        sys.stdin.readline()
        event.set()

    threading.Thread(target=wait, daemon=True).start()
    return event


def run_confluent(o: argparse.Namespace) -> None:
    settings: dict[str, Any] = {
        "bootstrap.servers": o.bootstrap,
        "group.id": o.group,
        "group.protocol": o.protocol,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    if o.protocol == "classic":
        settings["session.timeout.ms"] = SESSION_MS
        settings["heartbeat.interval.ms"] = HEARTBEAT_MS
        settings["partition.assignment.strategy"] = o.assignor
    elif o.assignor:
        settings["group.remote.assignor"] = o.assignor
    if o.instance:
        settings["group.instance.id"] = o.instance
    consumer = confluent_kafka.Consumer(settings)
    owned, stop = Owned(), stopped()
    #: The next offset of each partition that was read and is not committed.
    pending: dict[int, int] = {}

    def generation() -> int:
        data = consumer.consumer_group_metadata()
        assert data.startswith(b"CGMDv2:"), data
        return int.from_bytes(data[7:11], sys.byteorder, signed=True)

    def commit() -> None:
        if not pending:
            return
        offsets = [confluent_kafka.TopicPartition(o.topic, p, n) for p, n in pending.items()]
        pending.clear()
        try:
            for each in consumer.commit(offsets=offsets, asynchronous=False):
                if each.error is None:
                    emit("committed", p=each.partition, o=each.offset)
        except confluent_kafka.KafkaException:
            pass  # Somebody else has the partitions now.

    def on_assign(_: object, partitions: list[Any]) -> None:
        owned.assigned(generation(), partitions)

    def on_revoke(_: object, partitions: list[Any]) -> None:
        commit()
        owned.gone("revoked", generation(), partitions)

    def on_lost(_: object, partitions: list[Any]) -> None:
        pending.clear()
        owned.gone("lost", generation(), partitions)

    emit("subscribing")
    consumer.subscribe([o.topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)
    while not stop.is_set():
        values: dict[int, list[int]] = defaultdict(list)
        for message in consumer.consume(100, 0.02):
            if message.error() is None:
                values[message.partition()].append(int(message.value()))
                pending[message.partition()] = message.offset() + 1
        for partition, numbers in values.items():
            emit("read", p=partition, v=numbers)
        commit()
    consumer.close()


def run_kafka_python(o: argparse.Namespace) -> None:
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=o.bootstrap.split(","),
        group_id=o.group,
        group_instance_id=o.instance or None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        partition_assignment_strategy=[PYTHON_ASSIGNORS[a] for a in o.assignor.split(",")],
    )
    owned, stop = Owned(), stopped()
    pending: dict[Any, Any] = {}

    def generation() -> int:
        return consumer._coordinator._generation.generation_id  # type: ignore[no-any-return]

    def commit() -> None:
        offsets = dict(pending)
        pending.clear()
        if not offsets:
            return
        try:
            consumer.commit(offsets)
        except kafka.errors.KafkaError:
            return
        for partition, offset in offsets.items():
            emit("committed", p=partition.partition, o=offset.offset)

    class Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_assigned(self, assigned: Any) -> None:
            owned.assigned(generation(), assigned)

        def on_partitions_revoked(self, revoked: Any) -> None:
            commit()
            owned.gone("revoked", generation(), revoked)

        def on_partitions_lost(self, lost: Any) -> None:
            pending.clear()
            owned.gone("lost", generation(), lost)

    emit("subscribing")
    consumer.subscribe([o.topic], listener=Listener())
    while not stop.is_set():
        # With short polls kafka-python 3.0.12 now and then stops in the middle of a rebalance: it
        # gets the answer of its SyncGroup, and then neither takes it nor beats.
        for partition, records in consumer.poll(timeout_ms=1_000).items():
            emit("read", p=partition.partition, v=[int(r.value) for r in records])
            next_offset = records[-1].offset + 1
            pending[partition] = kafka.structs.OffsetAndMetadata(next_offset, "", -1)
        commit()
    consumer.close()


async def run_aiokafka(o: argparse.Namespace) -> None:
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=o.bootstrap,
        group_id=o.group,
        group_instance_id=o.instance or None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        partition_assignment_strategy=[AIO_ASSIGNORS[a] for a in o.assignor.split(",")],
    )
    owned, stop = Owned(), stopped()

    class Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_assigned(self, assigned: Any) -> None:
            owned.assigned(consumer._coordinator.generation, assigned)

        def on_partitions_revoked(self, revoked: Any) -> None:
            owned.gone("revoked", consumer._coordinator.generation, revoked)

    emit("subscribing")
    consumer.subscribe([o.topic], listener=Listener())
    await consumer.start()
    while not stop.is_set():
        offsets = {}
        for partition, records in (await consumer.getmany(timeout_ms=20)).items():
            emit("read", p=partition.partition, v=[int(r.value) for r in records])
            offsets[partition] = records[-1].offset + 1
        if offsets:
            try:
                await consumer.commit(offsets)
            except aiokafka.errors.KafkaError:
                continue
            for partition, offset in offsets.items():
                emit("committed", p=partition.partition, o=offset)
    await consumer.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("client", "bootstrap", "topic", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--protocol", default="classic")
    parser.add_argument("--assignor", default="")
    parser.add_argument("--instance", default="")
    o = parser.parse_args()
    if o.client == "confluent-kafka":
        run_confluent(o)
    elif o.client == "kafka-python":
        run_kafka_python(o)
    else:
        asyncio.run(run_aiokafka(o))
    emit("closed")


if __name__ == "__main__":
    main()
