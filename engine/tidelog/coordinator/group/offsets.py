"""Committed offsets of groups. Pure; changed by replay alone."""

from __future__ import annotations

from collections.abc import Iterator

from tidelog.coordinator.group.records import CommittedOffset


class CommittedOffsets:
    """By group, topic and partition."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, dict[int, CommittedOffset]]] = {}

    def get(self, group_id: str, topic: str, partition: int) -> CommittedOffset | None:
        """What was committed, or None."""
        return self._groups.get(group_id, {}).get(topic, {}).get(partition)

    def topics(self, group_id: str) -> Iterator[tuple[str, dict[int, CommittedOffset]]]:
        """Everything that the group committed."""
        yield from self._groups.get(group_id, {}).items()

    def partitions(self, group_id: str, topic: str) -> dict[int, CommittedOffset]:
        """What the group committed for a topic."""
        return self._groups.get(group_id, {}).get(topic, {})

    def has_group(self, group_id: str) -> bool:
        """Whether the group has any offset."""
        return group_id in self._groups

    def count(self, group_id: str) -> int:
        """How many offsets the group has."""
        return sum(len(partitions) for partitions in self._groups.get(group_id, {}).values())

    def put(self, group_id: str, topic: str, partition: int, committed: CommittedOffset) -> None:
        """Replay of an offset record."""
        self._groups.setdefault(group_id, {}).setdefault(topic, {})[partition] = committed

    def remove(self, group_id: str, topic: str, partition: int) -> None:
        """Replay of its tombstone."""
        topics = self._groups.get(group_id, {})
        partitions = topics.get(topic, {})
        partitions.pop(partition, None)
        if not partitions:
            topics.pop(topic, None)
        if not topics:
            self._groups.pop(group_id, None)
