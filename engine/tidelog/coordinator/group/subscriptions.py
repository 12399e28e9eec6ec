"""What consumer groups subscribe to: patterns and topics against the metadata. Pure.

Patterns are RE2's (linear in what they are matched with, whatever a client sends) and have to match
a topic's whole name. Python's `re` would let a client stop the node with one pattern.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import re2
import xxhash

from tidelog.errors import KafkaError
from tidelog.limits import REGEX_CHARS_MAX, REGEX_MEMORY_BYTES_MAX, REGEXES_COMPILED_MAX
from tidelog.metadata.image import TopicImage
from tidelog.protocol.error_codes import ErrorCode

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = REGEX_MEMORY_BYTES_MAX

_TOPIC: Final = struct.Struct(">16sI")


def check_regex(pattern: str) -> None:
    """Raises KafkaError: INVALID_REGULAR_EXPRESSION."""
    _compile(pattern)


def matching_topics(pattern: str, names: Iterable[str]) -> frozenset[str]:
    """The names that the pattern matches as a whole. Raises as check_regex does."""
    compiled = _compile(pattern)
    return frozenset(name for name in names if compiled.fullmatch(name) is not None)


@lru_cache(REGEXES_COMPILED_MAX)
def _compile(pattern: str) -> Any:
    if len(pattern) > REGEX_CHARS_MAX:
        raise KafkaError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"A pattern has at most {REGEX_CHARS_MAX} characters.",
        )
    try:
        return re2.compile(pattern, options=_OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "no reason given"
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise KafkaError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}.",
        ) from None


def metadata_hash(names: Iterable[str], topics: Mapping[str, TopicImage]) -> int:
    """A number that changes when one of the topics comes, goes, or gets partitions; 0 for none.

    Only compared with itself; written in a signed int64.
    """
    digest = xxhash.xxh3_64()
    found = False
    for name in sorted(names):
        topic = topics.get(name)
        if topic is not None:
            found = True
            digest.update(_TOPIC.pack(topic.topic_id, len(topic.partitions)))
    if not found:
        return 0
    return int.from_bytes(digest.digest(), "big", signed=True)


def partition_counts(names: Iterable[str], topics: Mapping[str, TopicImage]) -> dict[bytes, int]:
    """Partitions by topic id, in the order of the names, of the topics that exist."""
    return {
        topics[name].topic_id: len(topics[name].partitions)
        for name in sorted(names)
        if name in topics
    }
