"""`tidelog consume`: the records of a topic on standard output.

Runs in the user's shell. With a group, the offsets that are committed at the end are those of the
records that were printed.
"""

from __future__ import annotations

import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType
from typing import Annotated, Final, Self

import typer
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

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
    topic_partitions,
)
from tidelog.cli.formats import Format, json_format, keyed_format, template_format, value_format
from tidelog.cli.unreadable import trouble

#: Records asked of the library at once.
BATCH_RECORDS: Final = 500
POLL_S: Final = 0.2
#: Silence after which it is said what is waited for.
NOTICE_S: Final = 5.0
#: Silence after which the end of what is there is not waited for if it cannot be read.
PATIENCE_S: Final = TIMEOUT_S


def consume(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", callback=named)],
    from_beginning: Annotated[
        bool,
        typer.Option("--from-beginning", help="Start with the first record, not with new ones."),
    ] = False,
    offset: Annotated[
        int | None,
        typer.Option(help="Start there; negative: so many before the end. Not with --group."),
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this one; many times. Not with --group.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Share the topic within this group, and commit to it.")
    ] = None,
    max_messages: Annotated[
        int | None, typer.Option("--max-messages", min=1, help="Stop after so many records.")
    ] = None,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="Stop at the end of what is there.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Stop when for so long no record came."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="value, key-value, json, or a template like '%p %o %k %v\\n' "
            "(%t %p %o %k %v %K %S %T %h).",
        ),
    ] = "value",
    key_separator: Annotated[
        str, typer.Option("--key-separator", metavar="TEXT", help="Of key-value.")
    ] = "\t",
    isolation_level: Annotated[
        str, typer.Option("--isolation-level", help="read_committed or read_uncommitted.")
    ] = "read_committed",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> None:
    """Print the records of a topic."""
    show = _format(format, key_separator)
    if group is not None and (offset is not None or partition):
        raise typer.BadParameter("--offset and --partition do not go with --group")
    if group == "":
        raise typer.BadParameter("--group is empty")
    if from_beginning and offset is not None:
        raise typer.BadParameter("--from-beginning does not go with --offset")
    if isolation_level not in ("read_committed", "read_uncommitted"):
        raise typer.BadParameter(f"--isolation-level {isolation_level}")
    check_reachable(bootstrap)
    consumer = _consumer(bootstrap, group, from_beginning, isolation_level)
    try:
        with Stop() as stop:
            reading = Reading(
                consumer, max_messages, timeout, exit_at_end, topic=topic, group=group, stop=stop
            )
            start = OFFSET_BEGINNING if from_beginning else OFFSET_END
            _start(consumer, topic, reading, partition, start, offset)
            _print(reading, show)
    except KafkaException as error:
        raise CommandError(f"topic {topic} cannot be read: {reason(error)}") from error
    finally:
        consumer.close()


class Stop:
    """Ctrl-C and SIGTERM, which is what timeout, systemd and docker stop with: both end the
    command in order, so that a group is left.

    They must not raise within the library, which would lose the exception: while it is asked for
    records they are only noted.
    """

    def __init__(self) -> None:
        self.asking = False
        #: The exit status, once one came.
        self.status: int | None = None

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.status is not None and (kind is None or kind is KeyboardInterrupt):
            raise typer.Exit(self.status) from None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.status = 128 + number
        if not self.asking:
            raise KeyboardInterrupt


def _consumer(bootstrap: str, group: str | None, from_beginning: bool, isolation: str) -> Consumer:
    settings = client_settings(
        bootstrap,
        group_id=group or "tidelog-consume",
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        enable_partition_eof=True,  # tells what is read to its end from what is not read at all
        auto_offset_reset="earliest" if from_beginning else "latest",
        isolation_level=isolation,
        check_crcs=True,
        fetch_queue_backoff_ms=10,  # the library's own second would halve the rate
    )
    return Consumer(settings, logger=silent_logger())


class Reading:
    """The records one after another until it is time to stop. With a group what was taken is
    committed to it.
    """

    def __init__(
        self,
        consumer: Consumer,
        max_messages: int | None,
        timeout_s: float | None,
        exit_at_end: bool,
        *,
        topic: str,
        group: str | None,
        stop: Stop,
    ) -> None:
        self._consumer = consumer
        self._left = max_messages
        self._timeout_s = timeout_s
        self._exit_at_end = exit_at_end
        self._topic = topic
        self.group = group
        self._stop = stop
        self._notice_s = NOTICE_S
        self._noticed = False
        #: Whether there is anything to read from: members of a group are told what.
        self._assigned = group is None
        self._assigned_s = self._last_s = time.monotonic()
        self._output = select.poll()
        self._output.register(sys.stdout, 0)
        self._ended: set[tuple[str | None, int | None]] = set()
        self._next: dict[tuple[str, int], int] = {}

    def batches(self) -> Iterator[list[Message]]:
        """Raises CommandError."""
        self._last_s = time.monotonic()
        while self._left is None or self._left > 0:
            wanted = BATCH_RECORDS if self._left is None else min(self._left, BATCH_RECORDS)
            records = []
            if self._reader_left():
                return
            for message in self._asked(wanted):
                error = message.error()
                if error is None:
                    self._ended.discard((message.topic(), message.partition()))
                    records.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._ended.add((message.topic(), message.partition()))
                else:
                    raise CommandError(f"it cannot be read: {reason(KafkaException(error))}")
            if self._stop.status is not None:
                return
            now_s = time.monotonic()
            silent_s = now_s - self._last_s
            if records:
                self._last_s = now_s
                if self._left is not None:
                    self._left -= len(records)
                yield records
            elif self._is_over(silent_s):
                self._check_read(silent_s)
                return
            elif self._timeout_s is None:
                self._wait(silent_s)

    def _asked(self, wanted: int) -> list[Message]:
        self._stop.asking = True
        try:
            return self._consumer.consume(wanted, POLL_S)
        finally:
            self._stop.asking = False

    def assigned(self, _consumer: object, _partitions: object) -> None:
        """The group has answered, perhaps with nothing for this member."""
        self._assigned = True
        self._assigned_s = time.monotonic()

    def _check_read(self, silent_s: float) -> None:
        """Nothing came, but perhaps not because nothing is there. Raises CommandError."""
        problem = self._trouble(silent_s)
        if problem is None and not self._assigned:
            problem = (
                f"group {self.group}: its coordinator assigned no partitions in {silent_s:.0f} s"
            )
        if problem is not None:
            raise CommandError(problem)

    def _wait(self, silent_s: float) -> None:
        """Says once what is waited for. Raises CommandError when the end that is waited for cannot
        be read.
        """
        if silent_s < self._notice_s:
            return
        self._notice_s = max(PATIENCE_S, silent_s + NOTICE_S)
        if self._noticed and not self._exit_at_end:
            return
        problem = self._trouble(silent_s)
        if problem is not None and self._exit_at_end and silent_s >= PATIENCE_S:
            raise CommandError(problem)
        if not self._noticed:
            self._noticed = True
            typer.echo(f"tidelog: {problem or 'no record came'}: {self._waiting()}", err=True)

    def _waiting(self) -> str:
        if not self._assigned:
            return f"waiting for group {self.group} to assign partitions"
        what = "the end" if self._exit_at_end else "new records"
        return f"waiting for {what} of topic {self._topic}"

    def _trouble(self, silent_s: float) -> str | None:
        mine = {(one.topic, one.partition) for one in self._consumer.assignment()}
        unread = {partition for _, partition in mine - self._ended}
        since_s = min(silent_s, time.monotonic() - self._assigned_s)
        return trouble(self._consumer, self._topic, unread, since_s)

    def _reader_left(self) -> bool:
        """Whether whoever reads this output has gone: with nothing to print, no write tells."""
        return any(event & select.POLLERR for _, event in self._output.poll(0))

    def _is_over(self, silent_s: float) -> bool:
        if self._timeout_s is not None and silent_s >= self._timeout_s:
            return True
        return self._exit_at_end and self._at_end()

    def _at_end(self) -> bool:
        mine = {(one.topic, one.partition) for one in self._consumer.assignment()}
        return bool(mine) and mine <= self._ended

    def printed(self, records: list[Message]) -> None:
        for message in records:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if topic is not None and partition is not None and offset is not None:
                self._next[topic, partition] = offset + 1

    def commit(self) -> None:
        """Raises CommandError."""
        if self.group is None or not self._next:
            return
        offsets = [TopicPartition(*key, offset) for key, offset in self._next.items()]
        self._next = {}
        try:
            for one in self._consumer.commit(offsets=offsets, asynchronous=False) or ():
                if one.error is not None:
                    raise KafkaException(one.error)
        except KafkaException as error:
            raise CommandError(f"the offsets were not committed: {reason(error)}") from error


def _print(reading: Reading, show: Format) -> None:
    out = sys.stdout.buffer
    for records in reading.batches():
        out.write(b"".join(map(show, records)))
        out.flush()
        reading.printed(records)
        reading.commit()


def _start(
    consumer: Consumer,
    topic: str,
    reading: Reading,
    partitions: list[int] | None,
    start: int,
    offset: int | None,
) -> None:
    known = topic_partitions(consumer, [topic])[topic]
    if reading.group is not None:
        consumer.subscribe([topic], on_assign=reading.assigned)
        return
    for one in partitions or ():
        if one not in known:
            raise CommandError(f"topic {topic} has no partition {one}")
    chosen = partitions or known
    firsts: dict[int, int] = dict.fromkeys(chosen, start)
    if offset is not None:
        ends = {
            one: consumer.get_watermark_offsets(TopicPartition(topic, one), TIMEOUT_S)
            for one in chosen
        }
        firsts = first_offsets(topic, offset, ends)
    consumer.assign([TopicPartition(topic, one, first) for one, first in firsts.items()])


def first_offsets(topic: str, offset: int, ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Where each partition is begun, by its first and its next offset: within its log. Raises
    CommandError when the offset is beyond the end of all.
    """
    last = max(high for _, high in ends.values())
    if offset > last:
        which = "its end is" if len(ends) == 1 else "the last of its partitions ends at"
        raise CommandError(f"topic {topic} has no offset {offset}: {which} {last}")
    return {
        one: min(max(low, high + offset if offset < 0 else offset), high)
        for one, (low, high) in ends.items()
    }


def _format(name: str, separator: str) -> Format:
    if name == "value":
        return value_format
    if name == "json":
        return json_format
    if name == "key-value":
        return keyed_format(separator.encode())
    if "%" not in name:
        raise typer.BadParameter(
            f"--format {name}: value, key-value, json or a template with % is expected"
        )
    try:
        return template_format(name)
    except ValueError as error:
        raise typer.BadParameter(f"--format {name}: {error}") from None
