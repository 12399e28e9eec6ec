"""What a campaign says of its runs."""

from __future__ import annotations

from tests.fuzz import registry
from tests.fuzz.campaign import Result, executions

REPORT = """INFO: seed corpus: files: 327 min: 5b max: 915b total: 27166b rss: 152Mb
#650\tINITED cov: 812 ft: 3645 corp: 163/15085b exec/s: 0 rss: 213Mb
#1024\tNEW    cov: 813 ft: 3646 corp: 164/15090b lim: 915 exec/s: 0 rss: 214Mb L: 5/915
"""


def test_executions_by_the_last_word() -> None:
    assert executions("") == 0
    assert executions(REPORT) == 1024
    assert executions(REPORT + "stat::number_of_executed_units: 60227\n") == 60227


def test_the_line_of_a_target() -> None:
    good = str(Result("messages", 20.0, 60_000, 211, 0))
    assert good.split() == [
        *("messages", "20", "s", "60000", "executions", "3000/s", "211", "new", "inputs", "ok"),
    ]
    assert str(Result("frames", 0.0, 0, 0, 77)).endswith("FAULT")


def test_every_target_is_a_module_and_can_be_run() -> None:
    for name in registry.NAMES:
        target = registry.load(name)
        assert target.max_input_bytes >= max(len(data) for _, data in target.seeds())
        for data in (b"", b"\0", b"\xff" * 50):
            target.run(data)
