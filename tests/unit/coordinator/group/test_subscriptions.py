"""Patterns and topics."""

from __future__ import annotations

import re

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness, topic_id
from tidelog.coordinator.group import subscriptions
from tidelog.coordinator.group.subscriptions import (
    TopicMatcher,
    metadata_hash,
    partition_counts,
)
from tidelog.errors import KafkaError
from tidelog.limits import REGEX_CHARS_MAX, REGEXES_COMPILED_MAX


def test_a_pattern_matches_whole_names() -> None:
    matcher, names = TopicMatcher(), ["a", "ab", "b", "a.b"]
    assert matcher.matching("a", names) == {"a"}
    assert matcher.matching("a.*", names) == {"a", "ab", "a.b"}
    assert matcher.matching("a|b", names) == {"a", "b"}
    assert matcher.matching("", names) == frozenset()


def test_newer_metadata() -> None:
    matcher = TopicMatcher()
    for names in (["a", "ab", "b"], ["ab", "ac"], [], ["a"]):
        for pattern in ("a.*", ".*b"):
            wanted = {name for name in names if re.fullmatch(pattern, name)}
            assert matcher.matching(pattern, names) == wanted, (pattern, names)


def test_a_topic_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    matched: list[str] = []
    real = subscriptions._matches
    monkeypatch.setattr(
        subscriptions, "_matches", lambda p, names: (matched.extend(names), real(p, names))[1]
    )
    matcher = TopicMatcher()
    names = ["a", "b"]
    for _ in range(3):
        matcher.matching("a", names)
    matcher.matching("a", [*names, "c"])
    assert matched == ["a", "b", "c"]


def test_patterns_that_nobody_asks_for_are_forgotten() -> None:
    matcher, names = TopicMatcher(), ["a"]
    for n in range(3 * REGEXES_COMPILED_MAX):
        matcher.matching(f"a{n}", names)
        matcher.matching("a", names)
    assert len(matcher._found) <= REGEXES_COMPILED_MAX
    assert "a" in matcher._found


@pytest.mark.parametrize("pattern", ["([", "(?=a)", "a" * (REGEX_CHARS_MAX + 1), "(a{1000}){1000}"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(KafkaError) as caught:
        TopicMatcher().check(pattern, [])
    assert caught.value.error_code == 128
    assert caught.value.message


def test_a_pattern_that_would_take_too_long() -> None:
    """What is known of it already costs nothing, however many topics there are."""
    matcher, pattern = TopicMatcher(), "(.?){900}"
    names = [f"topic-{n}" for n in range(200)]
    many = [f"topic-{n}" for n in range(10_000)]
    matcher.check(pattern, names)
    matcher.check("topic-.*", many)
    with pytest.raises(KafkaError) as caught:
        matcher.check(pattern, many)
    assert caught.value.error_code == 128
    matcher.matching(pattern, names[:2])
    matcher.check(pattern, many)


def test_groups_are_not_captured() -> None:
    """Each of them would be copied at each step of the search."""
    deep = "(" * 990 + "a.*" + ")" * 990
    assert TopicMatcher().matching(deep, ["a1", "b"]) == {"a1"}
    compiled = subscriptions._compile(deep)
    assert (compiled.groups, compiled.programsize < 20) == (0, True)


def test_groups_with_names_count_as_so_many_steps() -> None:
    """RE2 captures those always."""
    matcher, names = TopicMatcher(), [f"topic-{n}" for n in range(1000)]
    matcher.check("(?<a>topic)-(?P<b>[0-9]+)", names)
    deep = "(?<x>" * 300 + "a" + ")" * 300
    matcher.check(deep, names[:2])
    with pytest.raises(KafkaError) as caught:
        matcher.check(deep, names)
    assert caught.value.error_code == 128


def test_a_pattern_that_would_stop_a_backtracking_engine() -> None:
    assert TopicMatcher().matching("(a+)+$", ["a" * 249 + "!"]) == frozenset()


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
