"""Tests of how a topic's configs become the settings of a log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tidelog._native.segment import Segment
from tidelog.config import TopicConfig
from tidelog.storage.log_config import (
    FAST_FILLED_BYTES,
    FAST_FILLED_MS,
    LONG_MAX,
    core_settings,
    next_settings,
    segment_bytes,
    segment_ms,
    segment_settings,
)


def test_defaults() -> None:
    settings = core_settings(TopicConfig.resolve({}))
    assert settings == {
        "max_message_bytes": 1048588,
        "timestamp_before_max_ms": LONG_MAX,
        "timestamp_after_max_ms": 3_600_000,
        "log_append_time": False,
        "compacted": False,
        "target_codec": -1,
        "segment_bytes": 1 << 30,
        "segment_ms": 7 * 24 * 3_600_000,
        "flush_messages": LONG_MAX,
    }


@pytest.mark.parametrize(
    ("name", "codec"),
    [("producer", -1), ("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)],
)
def test_codecs(name: str, codec: int) -> None:
    config = TopicConfig.resolve({"compression.type": name})
    assert core_settings(config)["target_codec"] == codec


def test_the_internal_segment_size_wins() -> None:
    config = TopicConfig.resolve({"segment.bytes": "2000000", "internal.segment.bytes": "500"})
    assert core_settings(config)["segment_bytes"] == 500


def test_kinds_of_topics() -> None:
    config = TopicConfig.resolve(
        {"cleanup.policy": "compact,delete", "message.timestamp.type": "LogAppendTime"}
    )
    settings = core_settings(config)
    assert (settings["compacted"], settings["log_append_time"]) == (True, True)


def test_segment_settings() -> None:
    config = TopicConfig.resolve(
        {"segment.index.bytes": "1000", "index.interval.bytes": "77", "preallocate": "true"}
    )
    settings = segment_settings(config)
    assert (settings.max_index_bytes, settings.index_interval_bytes) == (1000, 77)
    assert settings.reserve_bytes == config.segment_bytes


class Filled:
    """What is asked of a full segment."""

    def __init__(self, size: int, created_ms: int) -> None:
        self.size = size
        self.created_ms = created_ms
        self.offset_index = SimpleNamespace(entries=123)


@pytest.mark.parametrize(
    ("size", "age_ms", "reserved"),
    [
        (FAST_FILLED_BYTES, FAST_FILLED_MS - 1, True),
        (FAST_FILLED_BYTES, 0, True),
        (FAST_FILLED_BYTES - 1, 0, False),
        (FAST_FILLED_BYTES, FAST_FILLED_MS, False),
        (FAST_FILLED_BYTES, -1, False),  # the clock went back
    ],
)
def test_after_a_fast_segment_blocks_are_reserved(size: int, age_ms: int, reserved: bool) -> None:
    config = TopicConfig.resolve({})
    full = cast(Segment, Filled(size, 10**12 - age_ms))
    found = next_settings(config, full, 10**12)
    assert found.reserve_bytes == (config.segment_bytes if reserved else 0)
    assert found.reserve_entries == (123 if reserved else 0)
    assert next_settings(config, None, 10**12) == segment_settings(config)
    asked_for = TopicConfig.resolve({"preallocate": "true"})
    assert next_settings(asked_for, full, 10**12).reserve_bytes == asked_for.segment_bytes


def test_a_compacted_log_rolls_by_its_compaction_lag() -> None:
    lag = {"max.compaction.lag.ms": "5000", "segment.ms": "9000"}
    assert segment_ms(TopicConfig.resolve(lag)) == 9000
    assert segment_ms(TopicConfig.resolve(lag | {"cleanup.policy": "compact"})) == 5000
    lag["segment.ms"] = "100"
    assert segment_ms(TopicConfig.resolve(lag | {"cleanup.policy": "compact"})) == 100


def test_the_internal_size_of_a_segment_comes_first() -> None:
    sizes = {"segment.bytes": "1048576"}
    assert segment_bytes(TopicConfig.resolve(sizes)) == 1048576
    assert segment_bytes(TopicConfig.resolve(sizes | {"internal.segment.bytes": "700"})) == 700
