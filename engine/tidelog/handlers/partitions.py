"""Small questions about partitions that several handlers ask. Pure; belongs to no task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

from tidelog.metadata.image import MetadataImage, TopicImage
from tidelog.protocol.error_codes import ErrorCode

T = TypeVar("T", bound=Hashable)


def is_offline(node_id: int, image: MetadataImage) -> bool:
    """Whether a node cannot hold a live replica now: unknown, or fenced."""
    node = image.nodes.get(node_id)
    return node is None or node.fenced


def codes_of(
    topic: TopicImage | None,
    indexes: Iterable[int],
    unknown: ErrorCode = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
) -> dict[int, int]:
    """For each partition whether the topic has it; `unknown` for all of a topic that is none."""
    if topic is None:
        return dict.fromkeys(indexes, unknown)
    count = len(topic.partitions)
    return {
        index: ErrorCode.NONE if 0 <= index < count else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        for index in indexes
    }


def merged_codes(found: list[int], answered: Iterable[int]) -> list[int]:
    """`found` with what was answered, in turn, in the places of those without an error."""
    answers = iter(answered)
    return [code or next(answers) for code in found]


def duplicates(items: Iterable[T]) -> set[T]:
    """What occurs more than once."""
    return {item for item, count in Counter(items).items() if count > 1}
