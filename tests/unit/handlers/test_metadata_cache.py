"""The cache of Metadata answers: bound to one version of the metadata, and bounded."""

from __future__ import annotations

from tidelog.handlers import metadata_cache
from tidelog.handlers.metadata_cache import MAX_ANSWERS, MetadataCache


def test_answers_belong_to_a_version() -> None:
    cache = MetadataCache()
    assert cache.get(1, "k") is None
    cache.put(1, "k", b"one")
    assert cache.get(1, "k") == b"one"
    assert cache.get(2, "k") is None
    cache.put(2, "k", b"two")
    assert cache.get(2, "k") == b"two"
    cache.put(1, "k", b"late")
    assert cache.get(1, "k") is None
    assert cache.get(2, "k") == b"two"


def test_the_number_of_answers_is_bounded() -> None:
    cache = MetadataCache()
    for i in range(MAX_ANSWERS * 3):
        cache.put(1, i, b"x")
        assert cache.get(1, i) == b"x"
        assert len(cache._bodies) <= MAX_ANSWERS


def test_the_bytes_are_bounded() -> None:
    cache = MetadataCache()
    chunk = bytes(metadata_cache.MAX_BYTES // 4)
    for i in range(20):
        cache.put(1, i, chunk)
        assert sum(map(len, cache._bodies.values())) <= metadata_cache.MAX_BYTES
    cache.put(1, "huge", bytes(metadata_cache.MAX_BYTES + 1))
    assert cache.get(1, "huge") is None
