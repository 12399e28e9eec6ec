"""Which deltas a host that comes back is sent."""

from __future__ import annotations

from tidelog.process.hosts.history import History


def test_what_follows_a_version() -> None:
    history = History(7, 100)
    assert history.since(7) == []
    assert history.since(6) is None
    for version in (8, 9, 10):
        history.add(version, b"%d" % version)
    assert history.since(7) == [b"8", b"9", b"10"]
    assert history.since(9) == [b"10"]
    assert history.since(10) == []
    # A host that has none, or that has more than there is, needs a snapshot.
    for version in (-1, 6, 11):
        assert history.since(version) is None


def test_it_is_bounded() -> None:
    history = History(0, 10)
    for version in range(1, 5):
        history.add(version, b"1234")
    assert history.since(1) is None
    assert history.since(2) == [b"1234"] * 2
    history.add(5, bytes(11))
    assert history.since(4) is None
    assert history.since(5) == []
    history.add(6, b"x")
    assert history.since(5) == [b"x"]


def test_a_gap_begins_it_anew() -> None:
    history = History(0, 100)
    history.add(1, b"1")
    history.add(3, b"3")
    assert history.since(0) is None
    assert history.since(2) == [b"3"]
