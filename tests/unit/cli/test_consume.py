"""Tests of `tidelog consume` without a cluster: when it stops, and what it commits."""

from __future__ import annotations

import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError
from tidelog.cli.consume import Reading, Stop, first_offsets


class Message:
    def __init__(self, offset: int, partition: int = 0, error: int | None = None) -> None:
        self._offset, self._partition = offset, partition
        self._error = None if error is None else KafkaError(error)

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error


END = KafkaError._PARTITION_EOF


class FakeConsumer:
    """Gives one prepared batch for each call, then nothing."""

    def __init__(self, *batches: list[Message]) -> None:
        self.batches = list(batches)
        self.wanted: list[int] = []
        self.committed: list[dict[int, int]] = []
        self.away = False
        self.offline: set[int] = set()

    def consume(self, count: int, timeout: float) -> list[Message]:
        self.wanted.append(count)
        return self.batches.pop(0) if self.batches else []

    def assignment(self) -> list[Any]:
        return [SimpleNamespace(topic="t", partition=0), SimpleNamespace(topic="t", partition=1)]

    def list_topics(self, topic: str, timeout: float) -> Any:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        partitions = {index: SimpleNamespace(error=None) for index in (0, 1)}
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=partitions)})

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        if partition.partition in self.offline:
            raise KafkaException(KafkaError(KafkaError.KAFKA_STORAGE_ERROR))
        return 0, 10

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        self.committed.append({one.partition: one.offset for one in offsets})
        return offsets


@pytest.fixture(autouse=True)
def _output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)


def reading(consumer: FakeConsumer, **given: Any) -> Reading:
    options = {"max_messages": None, "timeout_s": None, "exit_at_end": False, "group": None} | given
    return Reading(consumer, topic="t", **({"stop": Stop()} | options))  # type: ignore[arg-type]


def offsets(reading: Reading) -> list[list[int | None]]:
    return [[message.offset() for message in batch] for batch in reading.batches()]


def test_it_stops_after_so_many() -> None:
    consumer = FakeConsumer([Message(0), Message(1)], [], [Message(2)])
    assert offsets(reading(consumer, max_messages=3)) == [[0, 1], [2]]
    assert consumer.wanted == [3, 1, 1]


def test_it_stops_at_the_end_of_every_partition() -> None:
    end = [Message(2, error=END), Message(5, 1, error=END)]
    consumer = FakeConsumer([Message(0), end[0]], [], [end[1], Message(4, 1)], [end[1]])
    assert offsets(reading(consumer, exit_at_end=True)) == [[0], [4]]
    assert not consumer.batches


def test_it_stops_when_nothing_comes() -> None:
    assert offsets(reading(FakeConsumer([Message(0)]), timeout_s=0.0)) == [[0]]


def test_an_error_ends_it() -> None:
    consumer = FakeConsumer([Message(0, error=KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    with pytest.raises(CommandError, match="TOPIC_AUTHORIZATION_FAILED"):
        offsets(reading(consumer))


def test_what_was_printed_is_committed() -> None:
    consumer = FakeConsumer()
    kept = reading(consumer, group="g")
    kept.commit()
    kept.printed([Message(3), Message(4), Message(9, 1)])  # type: ignore[list-item]
    kept.commit()
    kept.commit()
    assert consumer.committed == [{0: 5, 1: 10}]
    other = reading(consumer)
    other.printed([Message(3)])  # type: ignore[list-item]
    other.commit()
    assert len(consumer.committed) == 1, "without a group there is nothing to commit to"


@pytest.mark.parametrize(
    "options",
    [
        "--format %q",
        "--format xyz",
        "--group g --offset 1",
        "--isolation-level x",
        "--from-beginning --offset 3",
        "--timeout -1",
        "--group=",
    ],
)
def test_wrong_options(options: str) -> None:
    assert run(["consume", "t", *options.split()]) == 2


def test_nothing_was_read_because_no_coordinator_answered() -> None:
    with pytest.raises(CommandError, match="group g: its coordinator"):
        offsets(reading(FakeConsumer(), timeout_s=0.0, group="g"))
    member = reading(FakeConsumer(), timeout_s=0.0, group="g")
    member.assigned(None, [])
    assert offsets(member) == []


def test_an_offset_is_within_the_log() -> None:
    ends = {0: (10, 100), 1: (0, 5)}
    assert first_offsets("t", 50, ends) == {0: 50, 1: 5}
    assert first_offsets("t", 3, ends) == {0: 10, 1: 3}
    assert first_offsets("t", -20, ends) == {0: 80, 1: 0}
    assert first_offsets("t", 100, ends) == {0: 100, 1: 5}
    with pytest.raises(CommandError, match="no offset 101"):
        first_offsets("t", 101, ends)
    with pytest.raises(CommandError, match="its end is 5"):
        first_offsets("t", 6, {1: (0, 5)})


def test_what_cannot_be_read_is_no_end() -> None:
    consumer = FakeConsumer([Message(0), Message(1, error=END)])
    consumer.offline = {0, 1}
    with pytest.raises(CommandError, match=r"t-1 cannot be read: .*KAFKA_STORAGE_ERROR"):
        offsets(reading(consumer, timeout_s=0.0))
    consumer = FakeConsumer([Message(2, error=END), Message(0, 1, error=END)])
    consumer.offline = {0, 1}
    assert offsets(reading(consumer, timeout_s=0.0)) == [], "both were read to their ends"


@pytest.mark.parametrize("group", [None, "g"])
def test_a_cluster_that_is_gone_is_no_end(group: str | None) -> None:
    consumer = FakeConsumer([Message(0)])
    consumer.away = True
    with pytest.raises(CommandError, match="t cannot be read: the cluster cannot be reached"):
        offsets(reading(consumer, timeout_s=0.0, group=group))


def test_an_end_that_cannot_be_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.cli.consume.NOTICE_S", 0.0)
    monkeypatch.setattr("tidelog.cli.consume.PATIENCE_S", 0.0)
    consumer = FakeConsumer([Message(0)])
    consumer.offline = {1}
    with pytest.raises(CommandError, match="t-1 cannot be read"):
        offsets(reading(consumer, exit_at_end=True))


class LastlyStopped(FakeConsumer):
    """Sends a signal when it has nothing more, from within the library."""

    def __init__(self, number: int, *batches: list[Message]) -> None:
        super().__init__(*batches)
        self.number = number

    def consume(self, count: int, timeout: float) -> list[Message]:
        if not self.batches:
            signal.raise_signal(self.number)
        return super().consume(count, timeout)


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_waited_for_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], offline: bool
) -> None:
    monkeypatch.setattr("tidelog.cli.consume.NOTICE_S", 0.0)
    monkeypatch.setattr("tidelog.cli.consume.PATIENCE_S", 0.0)
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    consumer = LastlyStopped(signal.SIGINT, [], [], [])
    consumer.offline = {0} if offline else set()
    with pytest.raises(typer.Exit), Stop() as stop:
        offsets(reading(consumer, stop=stop))
    err = capsys.readouterr().err
    assert err.endswith(": waiting for new records of topic t\n")
    assert err.count("\n") == 1
    assert ("KAFKA_STORAGE_ERROR" in err) == offline


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(number: int, status: int) -> None:
    before = signal.getsignal(number)
    consumer = LastlyStopped(number, [Message(0)])
    with pytest.raises(typer.Exit) as ended, Stop() as stop:
        assert offsets(reading(consumer, stop=stop)) == [[0]]
    assert ended.value.exit_code == status
    with pytest.raises(typer.Exit) as ended, Stop():
        signal.raise_signal(number)
        pytest.fail("outside of the library it raises")
    assert ended.value.exit_code == status
    assert signal.getsignal(number) is before
