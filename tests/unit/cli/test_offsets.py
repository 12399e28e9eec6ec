"""Tests of `tidelog offsets` without a cluster: times, and what does not go together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from tidelog.cli.app import run
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


@pytest.mark.parametrize("options", ["t --reset-to earliest", "--group g --reset-to earliest"])
def test_a_reset_needs_a_group_and_topics(options: str) -> None:
    assert run(["offsets", *options.split()]) == 2
