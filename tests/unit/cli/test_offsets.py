"""Tests of `tidelog offsets` without a cluster: times, and what does not go together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from tidelog.cli.app import run
from tidelog.cli.cluster import CommandError
from tidelog.cli.offsets import parse_time


def test_times() -> None:
    assert parse_time("1700000000000") == 1_700_000_000_000
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000
    assert parse_time("2026-01-31T12:00:00+00:00") == noon
    assert parse_time("2026-01-31T13:00:00+01:00") == noon
    assert parse_time("2026-01-31") == datetime(2026, 1, 31).timestamp() * 1000
    for wrong in ("", "yesterday", "-5", "2026-13-01"):
        with pytest.raises(typer.BadParameter):
            parse_time(wrong)


def test_a_group_with_members_is_not_reset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(client: object, group: str) -> None:
        raise CommandError(f"group {group} has 1 member (Stable): stop them first")

    monkeypatch.setattr("tidelog.cli.offsets.connect", lambda bootstrap: None)
    monkeypatch.setattr("tidelog.cli.offsets.check_inactive", busy)
    assert run(["offsets", "t", "--group", "g", "--reset-to", "earliest"]) == 1
    assert capsys.readouterr().err == "tidelog: group g has 1 member (Stable): stop them first\n"


@pytest.mark.parametrize("options", ["t --reset-to earliest", "--group g --reset-to earliest"])
def test_a_reset_needs_a_group_and_topics(options: str) -> None:
    assert run(["offsets", *options.split()]) == 2
