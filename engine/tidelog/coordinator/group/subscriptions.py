"""What consumer groups subscribe to: patterns and topics against the metadata. Pure.

Patterns are RE2's (linear in what they are matched with, whatever a client sends) and have to match
a topic's whole name. Python's `re` would let a client stop the node with one pattern.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import re2
import xxhash

from tidelog.errors import KafkaError
from tidelog.limits import (
    REGEX_CHARS_MAX,
    REGEX_MEMORY_BYTES_MAX,
    REGEX_STEPS_MAX,
    REGEXES_COMPILED_MAX,
)
from tidelog.metadata.image import TopicImage
from tidelog.protocol.error_codes import ErrorCode

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = REGEX_MEMORY_BYTES_MAX
# Nobody asks what groups matched, and each step of a search that captures copies what all of them
# did: with a thousand nested parentheses a thousand topics took five seconds.
_OPTIONS.never_capture = True

_TOPIC: Final = struct.Struct(">16sI")


class TopicMatcher:
    """Which topics patterns match. A topic is matched with a pattern once: with newer metadata only
    the topics that came are. Groups that subscribe by the same pattern share what was found.
    """

    def __init__(self) -> None:
        self._known: Collection[str] = ()
        self._found: dict[str, frozenset[str]] = {}

    def check(self, pattern: str, names: Collection[str]) -> None:
        """Raises KafkaError: INVALID_REGULAR_EXPRESSION, also for a pattern that would take too
        long with these topics.
        """
        compiled = _compile(pattern)
        if pattern in self._found:
            return
        # A group that has a name is captured whatever the options say.
        steps = compiled.programsize * (1 + compiled.groups) * sum(map(len, names))
        if steps > REGEX_STEPS_MAX:
            raise KafkaError(
                ErrorCode.INVALID_REGULAR_EXPRESSION,
                f"SubscribedTopicRegex `{pattern}` is too complex for {len(names)} topics.",
            )

    def matching(self, pattern: str, names: Collection[str]) -> frozenset[str]:
        """The names that the pattern matches as a whole. Raises as `check` does, but for the time
        that it takes.
        """
        if names is not self._known:
            self._learn(names)
        found = self._found.pop(pattern, None)
        if found is None:
            found = _matches(pattern, names)
            if len(self._found) >= REGEXES_COMPILED_MAX:
                del self._found[next(iter(self._found))]
        # What was asked for last goes last.
        self._found[pattern] = found
        return found

    def _learn(self, names: Collection[str]) -> None:
        """Newer metadata. names: not changed by its owner afterwards."""
        before, now = set(self._known), set(names)
        came, gone = now - before, before - now
        self._known = names
        if came or gone:
            for pattern, found in self._found.items():
                self._found[pattern] = (found - gone) | _matches(pattern, came)


def _matches(pattern: str, names: Iterable[str]) -> frozenset[str]:
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
