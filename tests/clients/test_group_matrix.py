"""The Python clients share groups, each with its assignors and mixed: nothing is lost, and nothing
is owned twice. (A short version; the long one with all clients is tests/recovery/groups.py.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.group_lives import BROKER_ARGUMENTS, CoordinatorKiller, Plan, live
from tests.clients.group_members import Groups, python_kind
from tests.clients.test_restarts import kill_worker
from tests.house.broker import ServedBroker

CONFLUENT, PYTHON, AIO = "confluent-kafka", "kafka-python", "aiokafka"
PARTITIONS = 6

PLAN: Plan = {
    "confluent-cooperative": [python_kind(CONFLUENT, "cooperative-sticky")] * 3,
    "confluent-consumer": [python_kind(CONFLUENT, "", "consumer")] * 3,
    "python-cooperative": [python_kind(PYTHON, "cooperative-sticky")] * 3,
    "mixed-range": [python_kind(client, "range") for client in (CONFLUENT, PYTHON, AIO)],
    "mixed-roundrobin": [python_kind(client, "roundrobin") for client in (AIO, CONFLUENT, PYTHON)],
    "mixed-sticky": [python_kind(client, "sticky") for client in (PYTHON, AIO, PYTHON)],
}


@pytest.mark.timeout(150)
def test_groups_of_python_clients(tmp_path: Path) -> None:
    with ServedBroker(tmp_path / "data", BROKER_ARGUMENTS) as broker:
        groups = Groups(broker.bootstrap_servers, "t", PARTITIONS)
        groups.create()
        try:
            live(groups, PLAN, CoordinatorKiller(broker, kill_worker))
        finally:
            groups.end()
