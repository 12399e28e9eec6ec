"""What aiokafka's clients do in the fault tests; see `confluent_clients`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from tests.faults.client import FINISH_TIMEOUT_S, REQUEST_TIMEOUT_MS, Work, now_ms
from tests.faults.history import Moved, Poll, Record, Send

QUEUED_MAX: Final = 500


def common(work: Work) -> dict[str, Any]:
    return {
        "bootstrap_servers": work.bootstrap,
        "client_id": work.name,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": 5000,
    }


async def started(work: Work, client: Any) -> bool:
    """Whether it could connect; what fails is tried again by the caller."""
    try:
        await client.start()
    except KafkaError as error:
        work.trouble(repr(error), fatal=True)
        await client.stop()
        await asyncio.sleep(0.05)
        return False
    return True


async def write(work: Work) -> None:
    """Numbered records to every partition in turn."""
    for life in work.lives():
        if work.stopped:
            return
        producer = aiokafka.AIOKafkaProducer(
            **common(work), acks="all", enable_idempotence=True, linger_ms=2
        )
        if not await started(work, producer):
            continue
        try:
            await _write(work, producer, f"{work.name}.{life}")
        finally:
            try:
                await asyncio.wait_for(producer.stop(), FINISH_TIMEOUT_S)
            except (KafkaError, TimeoutError) as error:
                work.trouble(repr(error))


async def _write(work: Work, producer: aiokafka.AIOKafkaProducer, name: str) -> None:
    """Until the work is to stop, or the producer has failed."""
    (topic,) = work.topics()
    partitions, pause_s = work.number("partitions", 6), 1 / work.number("rate", 100)
    waiting: set[asyncio.Task[bool]] = set()
    failed = False
    for number in itertools.count():
        if work.stopped or failed:
            break
        if len(waiting) < QUEUED_MAX:
            partition, value, begin_ms = number % partitions, f"{name}.{number}", now_ms()
            try:
                future = await producer.send(topic, value.encode(), partition=partition)
            except KafkaError as error:
                work.trouble(repr(error), fatal=True)
                break
            send = Send(name, number, begin_ms, 0, topic, partition, value, "info")
            waiting.add(asyncio.create_task(_delivered(work, future, send)))
        await asyncio.sleep(pause_s)
        for task in [task for task in waiting if task.done()]:
            waiting.discard(task)
            failed = failed or not task.result()
    if waiting:
        _, left = await asyncio.wait(waiting, timeout=FINISH_TIMEOUT_S)
        if left:
            work.trouble(f"{len(left)} records without an answer")


async def _delivered(work: Work, future: Any, send: Send) -> bool:
    """Whether it was acknowledged."""
    fields = {field: getattr(send, field) for field in send.__struct_fields__}
    try:
        told = await future
    except (KafkaError, asyncio.CancelledError) as error:
        work.tell(Send(**{**fields, "end_ms": now_ms(), "error": repr(error)}))
        work.trouble(repr(error))
        return False
    work.tell(Send(**{**fields, "end_ms": now_ms(), "result": "ok", "offset": told.offset}))
    return True


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    def __init__(self, work: Work, name: str) -> None:
        self._work = work
        self._name = name

    def on_partitions_revoked(self, revoked: Any) -> None:
        return

    def on_partitions_assigned(self, assigned: Any) -> None:
        places = tuple((one.topic, one.partition, -1) for one in assigned)
        self._work.tell(Moved(self._name, places))


async def belong(work: Work) -> None:
    """A member of a group, which commits what it was given."""
    for life in work.lives():
        if work.stopped:
            return
        name, group = f"{work.name}.{life}", work.options["group"]
        consumer = aiokafka.AIOKafkaConsumer(
            **common(work),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            # As librdkafka has it first: of members that a coordinator has read from its log it
            # knows only the protocol that was chosen, and refuses whoever does not have that.
            partition_assignment_strategy=(RangePartitionAssignor, RoundRobinPartitionAssignor),
        )
        consumer.subscribe(work.topics(), listener=_Listener(work, name))
        if not await started(work, consumer):
            continue
        try:
            while not work.stopped:
                if await _poll(work, consumer, name, group):
                    try:
                        await consumer.commit()
                    except aiokafka.errors.CommitFailedError:
                        continue  # the group has gone on without it
        except KafkaError as error:
            work.trouble(repr(error), fatal=True)
        finally:
            await consumer.stop()


async def read(work: Work) -> None:
    """Follows all partitions of its topics."""
    committed_only = work.number("committed", 0) == 1
    for life in work.lives():
        if work.stopped:
            return
        name = f"{work.name}.{life}"
        consumer = aiokafka.AIOKafkaConsumer(
            **common(work),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed_only else "read_uncommitted",
        )
        if not await started(work, consumer):
            continue
        places = [
            (topic, partition, 0)
            for topic in work.topics()
            for partition in range(work.number("partitions", 6))
        ]
        work.tell(Moved(name, tuple(places)))
        consumer.assign([aiokafka.TopicPartition(*place[:2]) for place in places])
        try:
            while not work.stopped:
                await _poll(work, consumer, name, "", committed_only)
        except KafkaError as error:
            work.trouble(repr(error), fatal=True)
        finally:
            await consumer.stop()


async def _poll(
    work: Work, consumer: Any, name: str, group: str, committed_only: bool = False
) -> bool:
    """Whether there was something."""
    begin_ms = now_ms()
    records = [
        Record(one.topic, one.partition, one.offset, one.value.decode())
        for found in (await consumer.getmany(timeout_ms=300)).values()
        for one in found
    ]
    if records:
        work.tell(Poll(name, begin_ms, now_ms(), tuple(records), committed_only, group))
    return bool(records)


def _run(role: Callable[[Work], Any]) -> Callable[[Work], None]:
    return lambda work: asyncio.run(role(work))


ROLES: Final[dict[str, Callable[[Work], None]]] = {
    "aiokafka-write": _run(write),
    "aiokafka-read": _run(read),
    "aiokafka-belong": _run(belong),
}
