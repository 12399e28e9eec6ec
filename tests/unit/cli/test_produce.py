"""Tests of `tidelog produce` without a cluster: lines, a full queue, refusals."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError
from tidelog.cli.produce import Delivery, send_lines


class FakeProducer:
    """Takes `room` records, then only after a poll."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = self.left = room
        self.sent: list[tuple[Any, ...]] = []
        self.polls: list[float] = []

    def produce(self, topic: str, value: Any, key: Any, **options: Any) -> None:
        if not self.left:
            raise BufferError
        self.left -= 1
        self.sent.append((topic, key, value, *options.values()))

    def poll(self, timeout: float) -> None:
        self.polls.append(timeout)
        self.left = self.room

    def flush(self, timeout: float) -> int:
        return 0


def send(data: bytes, *, producer: FakeProducer | None = None, **given: Any) -> list[Any]:
    producer = producer or FakeProducer()
    options = {"separator": None, "null": None, "options": {}} | given
    send_lines(producer, "t", io.BytesIO(data), **options)  # type: ignore[arg-type]
    return [(key, value) for _, key, value, *_ in producer.sent]


def test_every_line_is_a_record() -> None:
    assert send(b"a\r\n\nb\r\r\n\xff") == [
        (None, b"a"),
        (None, b""),
        (None, b"b\r"),
        (None, b"\xff"),
    ]
    assert send(b"") == []


def test_keys_and_nulls() -> None:
    assert send(b"k:v:w\n:v\nk:\n", separator=b":") == [(b"k", b"v:w"), (b"", b"v"), (b"k", b"")]
    assert send(b"k:\nk:-\n", separator=b":", null=b"") == [(b"k", None), (b"k", b"-")]


def test_a_line_without_a_key() -> None:
    producer = FakeProducer()
    with pytest.raises(CommandError, match="line 2 has no ':'"):
        send(b"a:1\nb\nc:2", producer=producer, separator=b":")
    assert len(producer.sent) == 1


def test_a_full_queue_is_waited_for() -> None:
    producer = FakeProducer(room=2)
    assert len(send(b"x\n" * 7, producer=producer)) == 7
    assert [timeout > 0 for timeout in producer.polls] == [True] * 3


def test_deliveries_are_counted() -> None:
    delivery = Delivery()
    note: Callable[..., None] = delivery.note
    note(None, None)
    note(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), None)
    note(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), None)
    assert delivery.delivered == 1
    assert delivery.failed == {"no (TOPIC_AUTHORIZATION_FAILED)": 2}


@pytest.mark.parametrize(
    "options", ["--key-separator=", "--compression x", "--acks 3", "--header a", "--partition -4"]
)
def test_wrong_options(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.cli.produce.check_reachable", lambda bootstrap: None)
    assert run(["produce", "t", *options.split()]) == 2
