"""Tests of `tidelog produce` without a cluster: lines, a full queue, refusals."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError

from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError
from tidelog.cli.produce import Delivery, GaveUp, Patience, drain, send_lines


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


class Answering(FakeProducer):
    """What `run` makes: answers as many records as it is told, and nothing more."""

    answers = 10**9
    errors: ClassVar[list[KafkaError | None]] = []

    def __init__(self, settings: dict[str, Any], logger: object) -> None:
        super().__init__()
        self.settings = settings
        self.asked = 0

    def produce(self, topic: str, value: Any, key: Any, **options: Any) -> None:
        super().produce(topic, value, key, **options)
        if len(self.sent) <= self.answers:
            options["on_delivery"](None, None)

    def list_topics(self, topic: str, timeout: float) -> Any:
        error = self.errors[min(self.asked, len(self.errors) - 1)]
        self.asked += 1
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions={0: None})})

    def flush(self, timeout: float) -> int:
        return len(self)

    def __len__(self) -> int:
        return max(len(self.sent) - self.answers, 0)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> type[Answering]:
    class Made(Answering):
        errors: ClassVar[list[KafkaError | None]] = [None]

    monkeypatch.setattr("tidelog.cli.produce.check_reachable", lambda bootstrap: None)
    monkeypatch.setattr("tidelog.cli.produce.Producer", Made)
    return Made


def send(data: bytes, *, producer: FakeProducer | None = None, **given: Any) -> list[Any]:
    producer = producer or FakeProducer()
    patience = Patience(Delivery(), 60.0)
    options = {"separator": None, "null": None, "options": {}, "patience": patience} | given
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


def test_a_queue_that_stays_full_is_given_up() -> None:
    class Stuck(FakeProducer):
        def poll(self, timeout: float) -> None:
            self.polls.append(timeout)

    producer = Stuck(room=2)
    with pytest.raises(GaveUp):
        send(b"x\n" * 7, producer=producer, patience=Patience(Delivery(), 0.0))
    assert len(producer.sent) == 2
    assert len(producer.polls) == 1


def test_it_says_once_that_nothing_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 0.0
    monkeypatch.setattr("tidelog.cli.produce.time.monotonic", lambda: now_s)
    delivery = Delivery()
    patience = Patience(delivery, 60.0)

    class Waiting(FakeProducer):
        def flush(self, timeout: float) -> int:
            nonlocal now_s
            now_s += 10.0
            if now_s == 50.0:
                delivery.delivered += 1  # what was answered counts from here on
            return 1

    with pytest.raises(GaveUp):
        drain(Waiting(), patience)  # type: ignore[arg-type]
    assert now_s == 110.0
    err = capsys.readouterr().err
    assert err.startswith("tidelog: the cluster has not answered for 10 s: ")
    assert err.count("\n") == 1


def test_what_was_not_answered_is_counted(
    answering: type[Answering],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "lines").write_bytes(b"a\nb\nc\n")
    answering.answers = 2
    monkeypatch.setattr("tidelog.cli.produce.Patience.look", give_up)
    assert run(["produce", "t", "--file", str(tmp_path / "lines"), "--timeout", "7"]) == 1
    expected = "2 records were written, these were not: 1 records: no answer in 7 s"
    assert capsys.readouterr().err == f"tidelog: {expected}\n"


def give_up(_patience: Patience) -> None:
    raise GaveUp


def test_a_wrong_line_says_what_was_written_before(
    answering: type[Answering], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "lines").write_bytes(b"a:1\nb:2\nc\nd:4\n")
    assert run(["produce", "t", "--file", str(tmp_path / "lines"), "--key-separator", ":"]) == 1
    expected = "line 3 has no ':': 2 records before it were written"
    assert capsys.readouterr().err == f"tidelog: {expected}\n"


def test_a_partition_of_a_topic_that_is_created(
    answering: type[Answering],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidelog.cli.produce.time.sleep", lambda _: None)
    (tmp_path / "lines").write_bytes(b"a\n")
    arguments = ["produce", "t", "--file", str(tmp_path / "lines"), "--partition"]
    unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    answering.errors = [unknown, KafkaError(KafkaError.LEADER_NOT_AVAILABLE), None]
    assert run([*arguments, "0"]) == 0
    assert run([*arguments, "1"]) == 1
    assert "topic t has no partition 1" in capsys.readouterr().err
    monkeypatch.setattr("tidelog.cli.produce.TIMEOUT_S", 0.0)
    answering.errors = [unknown]
    assert run([*arguments, "0"]) == 1
    assert "topic t is not known" in capsys.readouterr().err
    answering.errors = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)]
    assert run([*arguments, "0"]) == 1
    assert "topic t cannot be written" in capsys.readouterr().err


def test_deliveries_are_counted() -> None:
    delivery = Delivery()
    note: Callable[..., None] = delivery.note
    note(None, None)
    note(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), None)
    note(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), None)
    assert delivery.delivered == 1
    assert delivery.failed == {"no (TOPIC_AUTHORIZATION_FAILED)": 2}


@pytest.mark.parametrize(
    "options",
    [
        "--key-separator=",
        "--compression x",
        "--acks 3",
        "--header a",
        "--partition -4",
        "--timeout 0",
    ],
)
def test_wrong_options(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.cli.produce.check_reachable", lambda bootstrap: None)
    assert run(["produce", "t", *options.split()]) == 2
