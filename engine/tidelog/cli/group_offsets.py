"""Offsets of partitions and groups, asked of a cluster. Runs in the user's shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tidelog.cli.cluster import TIMEOUT_S, CommandError, reason, result_of

Key = tuple[str, int]

_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


def listed_offsets(client: AdminClient, asked: Mapping[Key, OffsetSpec]) -> dict[Key, int]:
    """The offsets asked for; -1 where there is none. Raises CommandError."""
    if not asked:
        return {}
    requests = {TopicPartition(*key): spec for key, spec in asked.items()}
    futures = client.list_offsets(requests, request_timeout=TIMEOUT_S)
    return {
        (one.topic, one.partition): result_of(future, f"offsets of {one.topic}").offset
        for one, future in futures.items()
    }


def end_offsets(client: AdminClient, keys: Iterable[Key]) -> dict[Key, int]:
    """Where the partitions end; those of deleted topics are left out. Raises CommandError."""
    requests = {TopicPartition(*key): _LATEST for key in keys}
    if not requests:
        return {}
    ends = {}
    for one, future in client.list_offsets(requests, request_timeout=TIMEOUT_S).items():
        try:
            ends[one.topic, one.partition] = future.result(TIMEOUT_S + 5).offset
        except KafkaException as error:
            if error.args[0].code() not in (
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError._UNKNOWN_PARTITION,
                KafkaError._UNKNOWN_TOPIC,
            ):
                raise CommandError(f"offsets of {one.topic}: {reason(error)}") from error
    return ends


def committed_offsets(client: AdminClient, group: str) -> dict[Key, int]:
    """What the group has committed. Raises CommandError."""
    futures = client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S
    )
    found = result_of(futures[group], f"offsets of group {group}")
    return {
        (one.topic, one.partition): one.offset
        for one in found.topic_partitions or ()
        if one.offset >= 0
    }


def check_inactive(client: AdminClient, group: str) -> None:
    """A group that does not exist is made by the reset, as with Kafka's tool.
    Raises CommandError when it has members.
    """
    (future,) = client.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
    try:
        described = future.result(TIMEOUT_S + 5)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return
        raise CommandError(f"group {group} cannot be described: {reason(error)}") from error
    if count := len(described.members):
        raise CommandError(
            f"group {group} has {count} {'member' if count == 1 else 'members'} "
            f"({word(described.state)}): stop them first"
        )


def word(value: Any) -> str:
    """A state or type as ListGroups writes it: PreparingRebalance, Consumer."""
    name = "".join(part.title() for part in value.name.split("_"))
    return name.replace("Rebalancing", "Rebalance")
