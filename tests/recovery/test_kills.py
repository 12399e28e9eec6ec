"""A short run of kills.py: workers and a supervisor killed under load."""

from __future__ import annotations

from pathlib import Path

from tests.recovery import kills


def test_nothing_is_lost_doubled_or_changed(tmp_path: Path) -> None:
    found = kills.run(tmp_path / "data", workers_killed=6, supervisors_killed=1, seed=3)
    assert found.problems == []
    assert found.acknowledged > 7
    assert (found.worker_kills, found.supervisor_kills) == (6, 1)
    assert found.refused == 0


def test_what_is_wrong_is_found() -> None:
    """The checks themselves: a lost record, one twice, a hole, another value."""
    findings = kills.Findings()
    offsets = kills.Offsets(findings)
    for partition in range(kills.PARTITIONS):
        for offset in range(4):
            offsets.acknowledge(partition, offset, b"%d" % offset)
    sound = [{offset: b"%d" % offset for offset in range(4)} for _ in range(kills.PARTITIONS)]
    kills.check(sound, offsets, findings)
    assert findings.problems == []
    for change, hint in (
        (lambda records: records.pop(3), "was acknowledged"),
        (lambda records: records.pop(1), "holes"),
        (lambda records: records.__setitem__(4, b"0"), "twice"),
        (lambda records: records.__setitem__(2, b"x"), "then"),
    ):
        records = [dict(one) for one in sound]
        change(records[5])
        findings.problems.clear()
        kills.check(records, offsets, findings)
        assert any(hint in problem for problem in findings.problems)
