"""What becomes of packets that a relay passes on."""

from __future__ import annotations

import random

from tests.faults.relay import Line


def passed(line: Line, packets: list[bytes]) -> list[bytes]:
    """A packet each ms, and all that comes out."""
    found: list[bytes] = []
    for now_ms, packet in enumerate(packets):
        line.take(packet, now_ms / 1000)
        found += line.due(now_ms / 1000)
    assert line.wait_s(0) is None or line.wait_s(0) > 0
    return found + line.due(1e9)


PACKETS = [b"%d" % number for number in range(2000)]


def test_a_perfect_line_changes_nothing() -> None:
    line = Line(random.Random(1), 0, 0, 0)
    assert passed(line, PACKETS) == PACKETS
    assert line.wait_s(0) is None


def test_delay_changes_the_order_and_loses_nothing() -> None:
    line = Line(random.Random(1), 20, 0, 0)
    found = passed(line, PACKETS)
    assert found != PACKETS
    assert sorted(found) == sorted(PACKETS)
    # By no more than the delay.
    assert all(abs(found.index(packet) - PACKETS.index(packet)) <= 40 for packet in PACKETS[:500])


def test_packets_are_lost_and_doubled() -> None:
    lost = passed(Line(random.Random(1), 5, 0.1, 0), PACKETS)
    assert len(set(lost)) == len(lost)
    assert 1700 < len(lost) < 1900
    doubled = passed(Line(random.Random(1), 5, 0, 0.1), PACKETS)
    assert set(doubled) == set(PACKETS)
    assert 2100 < len(doubled) < 2300


def test_what_is_too_much_is_lost() -> None:
    line = Line(random.Random(1), 1e6, 0, 0)
    for _ in range(20_000):
        line.take(b"x", 0)
    assert len(line.due(1e9)) == 10_000
