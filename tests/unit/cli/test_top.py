"""`tidelog top`: views until their number, and what is printed without a terminal."""

from __future__ import annotations

import json

import pytest

from tidelog.cli import top as module
from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError
from tidelog.cli.top import watch
from tidelog.cli.top_view import GroupTotals, Look, NodeTotals, Progress, TopicTotals


class Source:
    """Looks one after another: each a second and 10 records later; those in `failing` fail."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.failing = failing
        self.looks = 0

    def look(self) -> Look:
        n = self.looks
        self.looks += 1
        if n in self.failing:
            raise CommandError("not reached")
        topics = {"orders": TopicTotals(10 * n), "__internal": TopicTotals(5 * n)}
        groups = {f"g{i}": GroupTotals("Stable", 1, {"orders": Progress(0, i)}) for i in range(3)}
        return Look(float(n), 0.001, topics=topics, groups=groups, nodes={"1": NodeTotals()})


def test_so_many_views_as_wanted() -> None:
    slept: list[float] = []
    views = list(watch(Source(), 0.5, 3, slept.append))
    assert [view.topics[0]["records_in_per_s"] for view in views] == [10, 10, 10]
    assert slept == [0.5] * 3


def test_a_broker_that_is_away_for_a_while() -> None:
    views = watch(Source(failing=(2, 3)), 1, None, lambda _: None)
    assert [next(views).topics[0]["records_in_per_s"] for _ in range(3)] == [10, 10, 10]


def test_a_script_hears_of_it() -> None:
    views = watch(Source(failing=(2,)), 1, 5, lambda _: None)
    next(views)
    with pytest.raises(CommandError):
        next(views)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    made = Source()
    monkeypatch.setattr(module, "MetricsSource", lambda address: made)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return made


def test_views_are_tables(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", "--metrics", "h:1", "--count", "2", "--rows", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("records in/s") == 2
    assert "orders" in out
    assert "__internal" not in out
    assert "... and 1 more" in out
    assert run(["top", "--metrics", "h:1", "--once", "--internal"]) == 0
    assert "__internal" in capsys.readouterr().out


def test_json_is_a_line_for_each_view(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", "--metrics", "h:1", "--count", "2", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["topics"][0]["topic"] for line in lines] == ["orders", "orders"]


@pytest.mark.parametrize("options", ["--metrics x", "--interval 0", "--count 0", "--rows 0"])
def test_wrong_options(options: str) -> None:
    assert run(["top", "--once", *options.split()]) == 2
