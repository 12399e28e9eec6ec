"""Apache's own tools show the same on Tidelog as on a running reference, and do the same.

The scenarios are data in tools_parity/; what is a matter of chance (ids, times, hosts, ports) is
masked. The tools of each side run in one JVM, all sides beside each other.

    python -m tests.compat.tools_parity [scenario ...]    shows what every tool prints on both

Every scenario runs on one node, and where it names no nodes also on three.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.compat.conftest import TARGET_IS_REFERENCE, Target, running_target
from tests.compat.tools import ToolServer
from tests.compat.tools_parity import load_scenarios
from tests.compat.tools_parity.compare import problems
from tests.compat.tools_parity.play import Player
from tests.compat.tools_parity.steps import SCENARIOS, Run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "apache-tools.md"

load_scenarios()
pytestmark = pytest.mark.timeout(180)


Side = tuple[ToolServer, Target]


@pytest.fixture(scope="module")
def sides(
    tools: ToolServer,
    reference: Target,
    target: Target,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Side]]:
    """The reference and both of Tidelog's, each with a JVM of its own: all go on at once."""
    nodes = () if TARGET_IS_REFERENCE else ("--workers", "3")
    with (
        running_target(tmp_path_factory.mktemp("three"), *nodes) as three,
        ToolServer() as one_tools,
        ToolServer() as three_tools,
    ):
        yield {
            "reference": (tools, reference),
            "one node": (one_tools, target),
            "three nodes": (three_tools, three),
        }


def test_the_page_about_the_tools_names_those_that_are_compared() -> None:
    page = PAGE.read_text().partition("## What works")[2].partition("##")[0]
    named = set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))
    runs = [step for one in SCENARIOS.values() for step in one.steps if isinstance(step, Run)]
    assert named == {run.line.split()[0] for run in runs}
    assert len(runs) > 600


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_the_tools_show_the_same_as_on_the_reference(
    name: str, sides: dict[str, Side], tmp_path: Path
) -> None:
    scenario = SCENARIOS[name]
    with ThreadPoolExecutor(len(sides)) as pool:
        playing = {
            side: pool.submit(Player(*sides[side], tmp_path / side).play, scenario.steps)
            for side in sides
            if not (scenario.one_node and side == "three nodes")
        }
    shown = {side: future.result() for side, future in playing.items()}
    theirs = shown.pop("reference")
    found = [
        f"--- {side}: {problem}"
        for side, ours in shown.items()
        for problem in problems(ours, theirs, stated_are_there=not TARGET_IS_REFERENCE)
    ]
    assert not found, "\n\n".join(found)
