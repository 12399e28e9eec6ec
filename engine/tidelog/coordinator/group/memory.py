"""What groups make a node hold in memory, and where that ends. Pure.

Counted is what clients say about themselves and the coordinator has to remember: protocols and
their metadata, assignments, subscriptions, ids; with so much on top for each member as the objects
around it take. What the broker makes of that itself (targets, owners) is bounded by the partitions
that there are. Committed offsets are not counted: they are on the disk first.

Refused is only what grows: a member that says the same again, or less, is never touched, and one
that is known has a reserve to grow into, so a group that works goes on whatever others do. Kafka
has no such limit: there the record of the group, which does not fit into its log, ends the matter
only after everything was taken in.

One GroupMemory serves all shards of a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import getsizeof

from tidelog.errors import KafkaError
from tidelog.limits import (
    GROUP_BYTES_MAX,
    GROUP_MEMBER_BYTES_MAX,
    GROUP_MEMBER_OVERHEAD_BYTES,
    GROUP_SMALL_BYTES,
    GROUPS_BYTES_MAX,
    GROUPS_RECOUNT_MS,
    GROUPS_RESERVED_BYTES,
)
from tidelog.protocol.error_codes import ErrorCode


class MemoryLimitError(KafkaError):
    """A member that is not taken: it, its group or all groups would hold too much."""


class GroupMemory:
    """`count()`: what all groups of the node hold now, bytes. It is asked rarely: between two
    counts only what comes is added, never what goes.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._held_bytes = 0
        self._counted_bytes = 0
        self._counted_ms: int | None = None

    def admit(self, member_bytes: int, before_bytes: int, group_bytes: int, now_ms: int) -> None:
        """Take in a member of that size, in the place of what it was before (0: it is new), in a
        group that holds so much now. Raises MemoryLimitError.
        """
        growth_bytes = member_bytes - before_bytes
        if growth_bytes <= 0:
            return
        if member_bytes > GROUP_MEMBER_BYTES_MAX:
            raise MemoryLimitError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"The member needs {member_bytes} bytes of memory, more than the"
                f" {GROUP_MEMBER_BYTES_MAX} of one member.",
            )
        group_bytes += growth_bytes
        if group_bytes > GROUP_BYTES_MAX:
            raise MemoryLimitError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The group would need {group_bytes} bytes of memory with this member, more than"
                f" the {GROUP_BYTES_MAX} of one group.",
            )
        # Large groups leave room for the many small ones.
        limit = GROUPS_BYTES_MAX if group_bytes <= GROUP_SMALL_BYTES else GROUPS_BYTES_MAX // 2
        if before_bytes:
            limit += GROUPS_RESERVED_BYTES
        if self._held_bytes + growth_bytes > limit:
            self._recount(now_ms)
        if self._held_bytes + growth_bytes > limit:
            raise MemoryLimitError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The groups of this node hold {self._held_bytes} bytes of memory: with this"
                f" member it would be more than the {limit} that a group of this size may fill.",
            )
        self._held_bytes += growth_bytes

    def _recount(self, now_ms: int) -> None:
        """A count looks at every member: not for each of many that are refused."""
        is_due = (
            self._counted_ms is None
            or not 0 <= now_ms - self._counted_ms < GROUPS_RECOUNT_MS
            or self._held_bytes - self._counted_bytes > GROUPS_BYTES_MAX // 16
        )
        if is_due:
            self._held_bytes = self._counted_bytes = self._count()
            self._counted_ms = now_ms


def classic_member_bytes(
    texts: Iterable[str | None], protocols: Iterable[tuple[str, bytes]]
) -> int:
    """What a member of the classic protocol is counted for; texts: its ids and names."""
    size = GROUP_MEMBER_OVERHEAD_BYTES + texts_bytes(texts)
    for name, metadata in protocols:
        size += getsizeof(name) + getsizeof(metadata)
    return size


def texts_bytes(texts: Iterable[str | None]) -> int:
    """Memory of strings, which is up to four times what they are on the wire."""
    return sum(getsizeof(text) for text in texts if text)


def names_bytes(names: frozenset[str]) -> int:
    """Memory of a set of names and of the names in it."""
    return getsizeof(names) + sum(map(getsizeof, names))
