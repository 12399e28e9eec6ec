"""Patterns and topics."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness, topic_id
from tidelog.coordinator.group.subscriptions import (
    check_regex,
    matching_topics,
    metadata_hash,
    partition_counts,
)
from tidelog.errors import KafkaError
from tidelog.limits import REGEX_CHARS_MAX


def test_a_pattern_matches_whole_names() -> None:
    names = ["a", "ab", "b", "a.b"]
    assert matching_topics("a", names) == {"a"}
    assert matching_topics("a.*", names) == {"a", "ab", "a.b"}
    assert matching_topics("a|b", names) == {"a", "b"}
    assert matching_topics("", names) == frozenset()


@pytest.mark.parametrize("pattern", ["([", "(?=a)", "a" * (REGEX_CHARS_MAX + 1), "(a{1000}){1000}"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(KafkaError) as caught:
        check_regex(pattern)
    assert caught.value.error_code == 128
    assert caught.value.message


def test_a_pattern_that_would_stop_a_backtracking_engine() -> None:
    assert matching_topics("(a+)+$", ["a" * 249 + "!"]) == frozenset()


def test_the_hash_changes_with_the_topics() -> None:
    h = ShardHarness()
    h.topics(a=1, b=2)
    both = metadata_hash(["a", "b"], h.image.topics)
    assert metadata_hash(["b", "a", "none"], h.image.topics) == both
    assert metadata_hash(["none"], h.image.topics) == 0
    assert -(1 << 63) <= both < 1 << 63
    h.topics(a=1, b=3)
    assert metadata_hash(["a", "b"], h.image.topics) != both


def test_partition_counts_of_topics_that_exist() -> None:
    h = ShardHarness()
    h.topics(b=2, a=1)
    found = partition_counts({"b", "a", "none"}, h.image.topics)
    assert list(found.items()) == [(topic_id("a"), 1), (topic_id("b"), 2)]
