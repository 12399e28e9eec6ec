"""`tidelog offsets`: where topics begin and end, how far groups came. Runs in the user's shell."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    TIMEOUT_S,
    Bootstrap,
    CommandError,
    Json,
    client_settings,
    connect,
    named,
    print_json,
    print_table,
    reason,
    result_of,
    silent_logger,
    topic_partitions,
)
from tidelog.cli.group_offsets import Key, check_inactive, listed_offsets

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Ends(NamedTuple):
    earliest: int
    latest: int


def offsets(
    topics: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC...]", callback=named)
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Show how far this group came, and what is left to it.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="TIME",
            help="Also the first offset of this time: ms since 1970, or 2026-01-31T12:00:00.",
        ),
    ] = None,
    reset_to: Annotated[
        str | None,
        typer.Option(
            "--reset-to",
            metavar="WHERE",
            help="Commit for --group (without members): earliest, latest, an offset, or @TIME.",
        ),
    ] = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Show the offsets of topics: earliest, latest, by time; committed ones and lag of a group."""
    if reset_to is not None and (group is None or not topics):
        raise typer.BadParameter("--reset-to needs --group and the topics")
    client = connect(bootstrap)
    if group is None:
        if not topics:
            raise typer.BadParameter("name a topic or a --group")
        _show_topics(client, topics, at, json)
        return
    if reset_to is not None:
        _reset(client, bootstrap, group, topics or [], reset_to)
    _show_group(client, group, topics, json)


def _show_topics(client: AdminClient, topics: list[str], at: str | None, json: bool) -> None:
    keys = _keys(client, topics)
    ends = _ends(client, keys)
    by_time: dict[Key, int] = {}
    if at is not None:
        by_time = listed_offsets(
            client, dict.fromkeys(keys, OffsetSpec.for_timestamp(parse_time(at)))
        )
    rows = []
    for key in keys:
        row: dict[str, Any] = {
            "topic": key[0],
            "partition": key[1],
            "earliest": ends[key].earliest,
            "latest": ends[key].latest,
            "records": ends[key].latest - ends[key].earliest,
        }
        if at is not None:
            row["at_time"] = None if by_time[key] < 0 else by_time[key]
        rows.append(row)
    _print(rows, json)


def _show_group(client: AdminClient, group: str, topics: list[str] | None, json: bool) -> None:
    committed = _committed(client, group)
    if topics:
        wanted = _keys(client, topics)
        committed = {key: committed.get(key, -1) for key in wanted}
    if not committed:
        raise CommandError(f"group {group} has no committed offsets")
    ends = _ends(client, list(committed))
    rows = []
    for (topic, partition), offset in sorted(committed.items()):
        latest = ends[topic, partition].latest
        rows.append(
            {
                "group": group,
                "topic": topic,
                "partition": partition,
                "committed": None if offset < 0 else offset,
                "latest": latest,
                "lag": None if offset < 0 else max(latest - offset, 0),
            }
        )
    _print(rows, json)


def _print(rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(rows)
        return
    columns = {
        name.replace("_", " "): "left" if name in ("topic", "group") else "right"
        for name in rows[0]
    }
    print_table(columns, (["-" if v is None else v for v in row.values()] for row in rows))


def parse_time(text: str) -> int:
    """ms since 1970, from a number of them or from ISO 8601 (local without a zone)."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text}: ms since 1970 or 2026-01-31T12:00:00 is expected"
        ) from None


def _keys(client: AdminClient, topics: list[str]) -> list[Key]:
    found = topic_partitions(client, topics)
    return [(topic, partition) for topic in topics for partition in found[topic]]


def _ends(client: AdminClient, keys: list[Key]) -> dict[Key, Ends]:
    earliest = listed_offsets(client, dict.fromkeys(keys, _EARLIEST))
    latest = listed_offsets(client, dict.fromkeys(keys, _LATEST))
    return {key: Ends(earliest[key], latest[key]) for key in keys}


def _committed(client: AdminClient, group: str) -> dict[Key, int]:
    futures = client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S
    )
    found = result_of(futures[group], f"offsets of group {group}")
    return {(one.topic, one.partition): one.offset for one in found.topic_partitions or ()}


def _reset(client: AdminClient, bootstrap: str, group: str, topics: list[str], where: str) -> None:
    check_inactive(client, group)
    keys = _keys(client, topics)
    ends = _ends(client, keys)
    if where in ("earliest", "latest"):
        targets = {key: getattr(ends[key], where) for key in keys}
    elif where.startswith("@"):
        spec = OffsetSpec.for_timestamp(parse_time(where[1:]))
        found = listed_offsets(client, dict.fromkeys(keys, spec))
        targets = {key: ends[key].latest if found[key] < 0 else found[key] for key in keys}
    elif where.isascii() and where.isdigit():
        targets = {key: min(max(int(where), ends[key].earliest), ends[key].latest) for key in keys}
    else:
        raise typer.BadParameter(f"--reset-to {where}: earliest, latest, an offset or @TIME")
    consumer = Consumer(client_settings(bootstrap, group_id=group), logger=silent_logger())
    try:
        for _attempt in range(50):
            wanted = [TopicPartition(*key, offset) for key, offset in targets.items()]
            try:
                for one in consumer.commit(offsets=wanted, asynchronous=False) or ():
                    if one.error is not None:
                        raise KafkaException(one.error)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise CommandError(f"group {group} was not reset: {reason(error)}") from error
                time.sleep(0.1)
        raise CommandError(f"group {group} was not reset: its coordinator does not answer")
    finally:
        consumer.close()
