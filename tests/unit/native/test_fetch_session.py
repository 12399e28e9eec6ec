"""The cache of fetch sessions (what a session tells: test_fetch_lane.py)."""

from __future__ import annotations

import random

from tidelog._native.fetch_session import FetchSessionCache

EVICTION_MS = 1000


def cache(capacity: int = 2) -> FetchSessionCache:
    return FetchSessionCache(capacity, EVICTION_MS, random.Random(1))


def test_epochs_count_and_wrap() -> None:
    sessions = cache()
    session = sessions.create_session(True, False, 0)
    assert session is not None
    number = session.session_id
    assert sessions.resume_session(number, 1, True, 0)[0] is session
    assert sessions.resume_session(number, 1, True, 0) == (None, 71)
    assert sessions.resume_session(number, 3, True, 0) == (None, 71)
    assert sessions.resume_session(number, 2, False, 0) == (None, 106)
    assert sessions.resume_session(number + 1, 1, True, 0) == (None, 70)
    assert session.epoch == 2


def test_a_full_cache_evicts_only_who_idles() -> None:
    sessions = cache()
    first = sessions.create_session(True, False, 0)
    second = sessions.create_session(True, False, 1)
    assert first is not None and second is not None
    assert sessions.create_session(True, False, 500) is None
    sessions.resume_session(first.session_id, 1, True, 900)
    third = sessions.create_session(True, False, 1001)
    assert third is not None
    assert sessions.resume_session(second.session_id, 1, True, 1001) == (None, 70)
    assert sessions.resume_session(first.session_id, 2, True, 1001)[0] is first


def test_a_follower_takes_the_place_of_a_consumer() -> None:
    sessions = cache(1)
    consumer = sessions.create_session(True, False, 0)
    follower = sessions.create_session(True, True, 1)
    assert consumer is not None and follower is not None
    assert len(sessions) == 1
    assert sessions.create_session(True, True, 2) is None
    assert sessions.create_session(True, False, 2) is None


def test_ids_are_positive_and_differ() -> None:
    sessions = cache(1000)
    ids = {sessions.create_session(False, False, 0).session_id for _ in range(1000)}  # type: ignore[union-attr]
    assert len(ids) == 1000
    assert min(ids) > 0
