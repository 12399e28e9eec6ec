"""Small questions about partitions that several handlers ask. Pure; belongs to no task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

from tidelog.metadata.image import MetadataImage

T = TypeVar("T", bound=Hashable)


def is_offline(node_id: int, image: MetadataImage) -> bool:
    """Whether a node cannot hold a live replica now: unknown, or fenced."""
    node = image.nodes.get(node_id)
    return node is None or node.fenced


def duplicates(items: Iterable[T]) -> set[T]:
    """What occurs more than once."""
    return {item for item, count in Counter(items).items() if count > 1}
