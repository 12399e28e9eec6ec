"""docs/tutorial.md with `tidelog`'s own commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.clients.tutorial import Walk, matches
from tests.house.broker import ServedBroker


@pytest.mark.timeout(120)
def test_the_tutorial(tmp_path: Path) -> None:
    with ServedBroker(tmp_path / "tidelog-data", ("--workers", "1")) as broker:
        commands = str(Path(sys.executable).parent)
        variables = {
            "TIDELOG_BOOTSTRAP": broker.bootstrap_servers,
            "PATH": f"{commands}:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
        }
        walk = Walk("tidelog", broker.bootstrap_servers, tmp_path, variables)
        walk.run()
        assert walk.executed >= 11


def test_what_has_to_be_shown() -> None:
    assert matches(["a", "...", "b ... c"], ["a", "x", "y", "b 1 2 c"])
    assert matches(["..."], [])
    assert not matches(["a"], ["a", "b"])
    assert not matches(["a", "b"], ["a"])
    assert not matches(["a ... b"], ["a c"])
