"""Apache's own tools show the same on Tidelog as on a running reference, and do the same.

The scenarios are data in tools_parity/; what is a matter of chance (ids, times, hosts, ports) is
masked. The tools of each side run in one JVM, both sides beside each other.

    python -m tests.compat.tools_parity [scenario ...]    shows what every tool prints on both
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.compat.conftest import Target
from tests.compat.tools import ToolServer
from tests.compat.tools_parity import load_scenarios
from tests.compat.tools_parity.compare import problems
from tests.compat.tools_parity.play import Player
from tests.compat.tools_parity.steps import SCENARIOS

load_scenarios()
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def their_tools(java: None) -> Iterator[ToolServer]:
    """A second JVM, so that both sides go on at once."""
    with ToolServer() as server:
        yield server


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_the_tools_show_the_same_on_both(
    name: str,
    tools: ToolServer,
    their_tools: ToolServer,
    target: Target,
    reference: Target,
    tmp_path: Path,
) -> None:
    steps = SCENARIOS[name]
    with ThreadPoolExecutor(2) as pool:
        theirs = pool.submit(Player(their_tools, reference, tmp_path / "theirs").play, steps)
        ours = Player(tools, target, tmp_path / "ours").play(steps)
    found = problems(ours, theirs.result())
    assert not found, "\n\n".join(found)
