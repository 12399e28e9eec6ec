"""Where a reset moves a group."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from tidelog.cli import group_resets
from tidelog.cli.cluster import CommandError
from tidelog.cli.group_resets import Reset, chosen, parse_duration_ms, planned, topic_names

NONE: dict[str, Any] = {
    "to_earliest": False,
    "to_latest": False,
    "to_offset": None,
    "shift_by": None,
    "to_datetime": None,
    "by_duration": None,
}
KEYS = [("t", 0), ("t", 1)]
FIRST = {("t", 0): 10, ("t", 1): 0}
END = {("t", 0): 100, ("t", 1): 50}
BY_TIME = {("t", 0): 40, ("t", 1): -1}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"to_earliest": True}, Reset("earliest")),
        ({"to_latest": True}, Reset("latest")),
        ({"to_offset": 0}, Reset("offset", 0)),
        ({"shift_by": -5}, Reset("shift", -5)),
        ({"to_datetime": "1700000000000"}, Reset("time", 1_700_000_000_000)),
    ],
)
def test_one_mode_is_given(given: dict[str, Any], expected: Reset) -> None:
    assert Reset.parse(**NONE | given) == expected


def test_a_duration_counts_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_resets.time, "time_ns", lambda: 10_000_000 * 1_000_000)
    assert Reset.parse(**NONE | {"by_duration": "PT1H"}) == Reset("time", 10_000_000 - 3_600_000)
    assert Reset.parse(**NONE | {"by_duration": "P9W"}) == Reset("time", 0)


@pytest.mark.parametrize("given", [{}, {"to_earliest": True, "to_offset": 1}])
def test_none_or_two_modes_are_wrong(given: dict[str, Any]) -> None:
    with pytest.raises(typer.BadParameter):
        Reset.parse(**NONE | given)


def test_durations() -> None:
    assert parse_duration_ms("PT2H30M") == 9_000_000
    assert parse_duration_ms("P1DT0.5S") == 86_400_500
    assert parse_duration_ms("P2W") == 14 * 86_400_000
    assert [parse_duration_ms(f"1{unit}") for unit in "smhdw"] == [
        1000, 60_000, 3_600_000, 86_400_000, 604_800_000
    ]  # fmt: skip
    for wrong in ("", "P", "PT", "1", "2 h", "P1Y", "-PT1H", "PT1H2H"):
        with pytest.raises(typer.BadParameter):
            parse_duration_ms(wrong)


def test_topics_have_names() -> None:
    assert topic_names(["a:2,0", "b", "a"]) == ["a", "b", "a"]
    for text in ("", ":0", ":"):
        with pytest.raises(typer.BadParameter, match="the name of a topic is missing"):
            topic_names(["a", text])


def test_topics_and_partitions_are_chosen() -> None:
    known = {"a": [0, 1, 2], "b": [0]}
    assert chosen(["a:2,0", "b"], known) == [("a", 2), ("a", 0), ("b", 0)]
    assert chosen(["b", "b:0"], known) == [("b", 0)]
    with pytest.raises(CommandError, match="no partition 3"):
        chosen(["a:3"], known)
    with pytest.raises(typer.BadParameter):
        chosen(["a:x"], known)


@pytest.fixture(autouse=True)
def offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(client: Any, asked: dict[Any, Any]) -> dict[Any, int]:
        by_spec = {id(group_resets._EARLIEST): FIRST, id(group_resets._LATEST): END}
        return {key: by_spec.get(id(spec), BY_TIME)[key] for key, spec in asked.items()}

    monkeypatch.setattr(group_resets, "listed_offsets", listed)


@pytest.mark.parametrize(
    ("where", "targets"),
    [
        (Reset("earliest"), [10, 0]),
        (Reset("latest"), [100, 50]),
        (Reset("offset", 60), [60, 50]),
        (Reset("offset", 0), [10, 0]),
        (Reset("shift", 5), [25, 10]),
        (Reset("shift", -7), [13, 0]),
        (Reset("shift", 1000), [100, 50]),
        (Reset("time", 1), [40, 50]),
    ],
)
def test_plans_stay_within_the_log(where: Reset, targets: list[int]) -> None:
    committed = {("t", 0): 20, ("t", 1): 5}
    plan = planned(None, where, KEYS, committed)  # type: ignore[arg-type]
    assert plan == [(("t", 0), 20, targets[0]), (("t", 1), 5, targets[1])]


def test_a_shift_needs_something_to_start_from() -> None:
    with pytest.raises(CommandError, match="t-1"):
        planned(None, Reset("shift", 1), KEYS, {("t", 0): 20})  # type: ignore[arg-type]
