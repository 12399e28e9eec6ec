"""`tidelog produce`: records from standard input, one for each line.

Runs in the user's shell. Memory is bounded by the client's queue: when it is full, reading waits.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    TIMEOUT_S,
    Bootstrap,
    CommandError,
    check_reachable,
    client_settings,
    named,
    reason,
    silent_logger,
)

#: How long nothing is written before the command gives up, and before it says that it waits.
GIVE_UP_S: Final = 60.0
NOTICE_S: Final = 10.0
WAIT_S: Final = 0.1
#: The library's own time for a record; a slow cluster is no reason to give up.
MESSAGE_TIMEOUT_S: Final = 300.0
MESSAGE_TIMEOUT_MAX_S: Final = 2_000_000.0
#: Records between two looks at what was delivered.
POLL_EVERY: Final = 1_000
QUEUE_RECORDS_MAX: Final = 100_000
RETRIES_MAX: Final = 12
QUEUE_KIB_MAX: Final = 256 * 1024


class Delivery:
    """What became of the records: counted, the first refusal kept."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed: Counter[str] = Counter()

    def note(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.failed[reason(KafkaException(error))] += 1

    @property
    def settled(self) -> int:
        return self.delivered + self.failed.total()


class GaveUp(Exception):
    """Nothing was answered for as long as the user would wait."""


class Patience:
    """How long no record was answered while some wait for it."""

    def __init__(self, delivery: Delivery, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._delivery = delivery
        self._said = False
        self.start()

    def start(self) -> None:
        """Waiting begins."""
        self._settled = self._delivery.settled
        self._since_s = time.monotonic()

    def look(self) -> None:
        """Called again and again while waiting; says once that nothing comes. Raises GaveUp."""
        if self._delivery.settled != self._settled:
            self.start()
            return
        silent_s = time.monotonic() - self._since_s
        if silent_s >= self.timeout_s:
            raise GaveUp
        if silent_s >= NOTICE_S and not self._said:
            self._said = True
            typer.echo(
                f"tidelog: the cluster has not answered for {silent_s:.0f} s: waiting for it, "
                f"at most {self.timeout_s:.0f} s (--timeout)",
                err=True,
            )


def produce(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", callback=named)],
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Read from here, not from standard input."),
    ] = None,
    key_separator: Annotated[
        str | None,
        typer.Option("--key-separator", metavar="TEXT", help="A line is KEY TEXT VALUE."),
    ] = None,
    null_value: Annotated[
        str | None,
        typer.Option("--null-value", metavar="TEXT", help="A value of this is null (a tombstone)."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="KEY=VALUE", help="For every record; many times."),
    ] = None,
    partition: Annotated[
        int, typer.Option(help="Write to this one (default: by key, else spread).")
    ] = -1,
    compression: Annotated[
        str, typer.Option(help="none, gzip, snappy, lz4 or zstd.", metavar="CODEC")
    ] = "none",
    acks: Annotated[str, typer.Option(help="0, 1 or all.")] = "all",
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Give up when nothing is written for so long."),
    ] = GIVE_UP_S,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> None:
    """Write records: one for each line of standard input."""
    separator = _separator(key_separator)
    headers = _headers(header)
    settings = _settings(bootstrap, compression, acks, timeout)
    check_reachable(bootstrap)
    producer = Producer(settings, logger=silent_logger())
    _check_partition(producer, topic, partition)
    delivery = Delivery()
    options: dict[str, Any] = {"on_delivery": delivery.note}
    if headers:
        options["headers"] = headers
    if partition >= 0:
        options["partition"] = partition
    null = None if null_value is None else null_value.encode()
    patience = Patience(delivery, timeout)
    stopped, wrong_line = False, ""
    try:
        with _source(file) as lines:
            try:
                send_lines(producer, topic, lines, separator, null, options, patience)
            except LineError as error:
                wrong_line = str(error)
        drain(producer, patience)
    except KeyboardInterrupt:
        stopped = True
        producer.flush(TIMEOUT_S)
    except GaveUp:
        pass
    _report(delivery, len(producer), timeout, wrong_line=wrong_line, stopped=stopped)


def _settings(bootstrap: str, compression: str, acks: str, timeout_s: float) -> dict[str, Any]:
    """What the producer is made with. Raises typer.BadParameter."""
    message_timeout_s = min(max(timeout_s, MESSAGE_TIMEOUT_S), MESSAGE_TIMEOUT_MAX_S)
    return client_settings(
        bootstrap,
        compression_type=_one_of("--compression", compression, CODECS),
        acks=_one_of("--acks", acks, ("0", "1", "all", "-1")),
        enable_idempotence=acks in ("all", "-1"),
        linger_ms=5,
        # Before the time is up: then the broker's own reason is reported (10 s of growing waits).
        message_send_max_retries=RETRIES_MAX,
        retry_backoff_max_ms=1000,
        queue_buffering_max_messages=QUEUE_RECORDS_MAX,
        queue_buffering_max_kbytes=QUEUE_KIB_MAX,
        message_max_bytes=1_000_000_000,
        message_timeout_ms=int(message_timeout_s * 1000),
    )


class LineError(CommandError):
    """A line that is no record, or that the library refuses."""


def drain(producer: Producer, patience: Patience) -> None:
    """Waits until every record is answered. Raises GaveUp."""
    patience.start()
    while producer.flush(WAIT_S):
        patience.look()


CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")


def send_lines(
    producer: Producer,
    topic: str,
    lines: BinaryIO,
    separator: bytes | None,
    null: bytes | None,
    options: dict[str, Any],
    patience: Patience,
) -> None:
    """Gives every line to the producer. Raises LineError for a line without a key, GaveUp when the
    queue stays full.
    """
    for number, line in enumerate(_progress(lines), 1):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        key: bytes | None = None
        value: bytes | None = text
        if separator is not None:
            key, found, value = text.partition(separator)
            if not found:
                raise LineError(f"line {number} has no {separator.decode(errors='replace')!r}")
        if value == null:
            value = None
        waiting = False
        while True:
            try:
                producer.produce(topic, value, key, **options)
                break
            except BufferError:  # the queue is full: wait for room
                if not waiting:
                    waiting = True
                    patience.start()
                producer.poll(WAIT_S)
                patience.look()
            except KafkaException as error:
                raise LineError(f"line {number} was not sent: {reason(error)}") from error
        if not number % POLL_EVERY:
            producer.poll(0)


def _progress(lines: BinaryIO) -> Iterator[bytes]:
    """The lines; counted on a terminal's standard error while they come from elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal or lines.isatty():
        yield from lines
        return
    columns = (TextColumn("{task.completed:,} records"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("read", total=None)
        for number, line in enumerate(lines):
            if not number % POLL_EVERY:
                progress.update(task, completed=number)
            yield line


def _report(
    delivery: Delivery, left: int, timeout_s: float, *, wrong_line: str, stopped: bool
) -> None:
    problems = [f"{count} records: {text}" for text, count in delivery.failed.most_common(3)]
    if left:
        waited_s = TIMEOUT_S if stopped else timeout_s
        problems.append(f"{left} records: no answer in {waited_s:.0f} s")
    before = f"{wrong_line}: " if wrong_line else ""
    if problems:
        raise CommandError(
            f"{before}{delivery.delivered} records were written, these were not: "
            f"{'; '.join(problems)}"
        )
    if wrong_line:
        raise CommandError(f"{before}{delivery.delivered} records before it were written")
    if stopped or sys.stderr.isatty():
        typer.echo(f"{delivery.delivered} records were written", err=True)
    if stopped:
        raise typer.Exit(130)


def _source(file: Path | None) -> BinaryIO:
    if file is None:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    try:
        return file.open("rb")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error


def _check_partition(producer: Producer, topic: str, partition: int) -> None:
    """The library would keep records of a partition that is not there until their time is up. A
    topic that does not exist is created, as by a record without a partition. Raises CommandError.
    """
    if partition < -1:
        raise typer.BadParameter(f"--partition {partition}")
    if partition >= 0 and partition not in _partitions(producer, topic):
        raise CommandError(f"topic {topic} has no partition {partition}")


def _partitions(producer: Producer, topic: str) -> Collection[int]:
    """A producer's question for one topic creates it where the broker does that; it takes a moment.
    Raises CommandError.
    """
    give_up_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            found = producer.list_topics(topic, TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise CommandError(f"topic {topic} cannot be looked up: {reason(error)}") from error
        if found.error is None:
            return set(found.partitions)
        if not found.error.retriable() and found.error.code() not in _BEING_MADE:
            refusal = KafkaException(found.error)
            raise CommandError(f"topic {topic} cannot be written: {reason(refusal)}")
        if time.monotonic() >= give_up_s:
            raise CommandError(f"topic {topic} is not known")
        time.sleep(WAIT_S)


#: What is answered while a topic is created; the first one also where topics are not.
_BEING_MADE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE)


def _separator(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not text:
        raise typer.BadParameter("--key-separator is empty")
    return (
        text.encode().decode("unicode_escape").encode("latin-1") if "\\" in text else text.encode()
    )


def _headers(given: list[str] | None) -> list[tuple[str, bytes]]:
    headers = []
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"--header {text}: it is not KEY=VALUE")
        headers.append((key, value.encode()))
    return headers


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise typer.BadParameter(f"{option} {value}: one of {', '.join(allowed)} is expected")
    return value
