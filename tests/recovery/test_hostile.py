"""Short runs of hostile.py: hostile connections of every kind, and such that never read."""

from __future__ import annotations

from pathlib import Path

from bench.load import unread
from tests.recovery import hostile, hostile_peers
from tidelog import limits
from tidelog.benchmarks.shapes import MEGABYTE
from tidelog.benchmarks.targets import TidelogTarget


def test_every_kind_at_once(tmp_path: Path) -> None:
    found = hostile.run(tmp_path / "data", hostile.Scenario(240), seconds=4, worker_count=2, seed=3)
    assert found.problems == []
    assert found.acknowledged == found.read > 0
    told = " ".join(found.reasons)
    for reason in ("socket.request.max.bytes", "is unknown"):
        assert reason in told, found.reasons
    # Every kind came through, or there would be nothing to be served beside.
    for kind in hostile_peers.KINDS:
        assert found.peers[f"{kind.__name__} connected"] >= 240 // len(hostile_peers.KINDS)
        assert found.peers.get(f"{kind.__name__} refused", 0) == 0


def test_who_never_reads_is_not_answered_for_ever(tmp_path: Path) -> None:
    scenario = hostile.Scenario(60, "deaf", is_wide=True)
    found = hostile.run(tmp_path / "data", scenario, seconds=2, worker_count=1, seed=3)
    assert found.problems == []
    assert found.acknowledged == found.read > 0
    assert found.peers["deaf connected"] >= 60


def test_many_who_send_much_and_read_nothing(tmp_path: Path) -> None:
    """500 MB on the way at once: so much is held as the budget says, and all of it is appended."""
    budget_bytes = 32 << 20
    setting = f"{unread.BUDGET}={budget_bytes}"
    with TidelogTarget(tmp_path, settings=(setting,)) as target:
        found = unread.measure(target, connections=500, requests=1, megabytes=1.0)
    # (Beside it what 500 connections and the log's own buffers take: 5 MB.)
    assert found["grown MB"] < 1.5 * budget_bytes / MEGABYTE, found


def test_members_that_say_very_much(tmp_path: Path) -> None:
    scenario = hostile.Scenario(60, "large_members")
    found = hostile.run(tmp_path / "data", scenario, seconds=4, worker_count=1, seed=3)
    assert found.problems == []
    assert found.acknowledged == found.read > 0
    # More than ever may be held came, and was answered.
    assert found.peers["large_members bytes sent"] > 2 * limits.GROUPS_BYTES_MAX
    assert any("of one member" in reason for reason in found.reasons), found.reasons


def test_what_is_wrong_is_found() -> None:
    """The check of the log."""
    line = (
        '2026-01-31T12:00:00.{:03d}Z warning node=1 event="connection closed" client=127.0.0.1'
        ' connection=7 reason="a frame of -1 bytes (socket.request.max.bytes=100)"\n'
    )
    findings = hostile.Findings()
    hostile.check_log("".join(line.format(i) for i in range(10)), 1, findings)
    assert (findings.problems, findings.log_lines) == ([], 10)
    assert findings.reasons == {"a frame of N bytes (socket.request.max.bytes=N)": 10}
    hostile.check_log("".join(line.format(i) for i in range(100)), 1, findings)
    assert findings.problems == ["110 lines in 2 seconds"]
    hostile.check_log('2026-01-31T12:00:00.000Z error node=1 event="loop failed"\n', 1, findings)
    assert "loop failed" in findings.problems[-1]
