"""Tidelog answers as a running Apache Kafka 4.3.1 did, request by request.

The questions and the recorded answers are those of `tests/compat/parity`; no Java is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compat.parity import load_scenarios
from tests.compat.parity.allowed import unexplained
from tests.compat.parity.record import plain, read
from tests.compat.parity.session import SCENARIOS, differences, run
from tests.house.broker import ServedBroker

load_scenarios()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """One broker that is all of its cluster, as the reference was."""
    data_dir = tmp_path_factory.mktemp("parity") / "data"
    with ServedBroker(data_dir, ["--workers", "1"]) as running:
        yield running


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_answers_are_the_references(name: str, single: ServedBroker) -> None:
    host, _, port = single.bootstrap_servers.rpartition(":")
    ours = plain(run(name, host, int(port)))
    problems = unexplained(name, ours, read()[name])
    assert not problems, "\n".join(problems)


def test_the_comparison_can_fail() -> None:
    recorded = read()["list_offsets"]
    assert not differences(recorded, recorded)
    changed = {**recorded, "unknown topic": None, "one more": 1}
    assert set(differences(changed, recorded)) == {"unknown topic", "one more"}
    assert len(unexplained("list_offsets", changed, recorded)) == 2
