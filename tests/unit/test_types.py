"""The base vocabulary."""

from __future__ import annotations

from tidelog import types


def test_ids_and_internal_topics() -> None:
    assert types.ZERO_TOPIC_ID == b"\0" * 16
    assert {"__consumer_offsets", "__transaction_state"} == types.INTERNAL_TOPICS
