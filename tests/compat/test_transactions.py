"""Transactions with franz-go (its group session, too), kafkajs, and Apache's tools."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.compat.conftest import Target
from tests.compat.programs import Client, ProgramMissing, client

PARTITIONS = 3
ROUNDS = 9
pytestmark = pytest.mark.timeout(120, func_only=True)

#: What a producer that was replaced is told, in the words of its client.
FENCED = {"INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "INVALID_TXN_STATE", "TRANSACTION_ABORTABLE"}


def program(name: str) -> Client:
    try:
        return client(name)
    except ProgramMissing as missing:
        pytest.skip(str(missing))


def values(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(line["value"] for line in lines)


@pytest.mark.parametrize("name", ["franz-go", "kafkajs"])
def test_commits_aborts_copies_and_fencing(cluster: Target, name: str) -> None:
    topic = f"transactions-{name}"
    used = program(name)
    for each in (topic, f"{topic}-copy"):
        used.create(cluster.bootstrap, each, PARTITIONS)
    found = used.run(
        "transactions",
        bootstrap=cluster.bootstrap,
        topic=topic,
        partitions=PARTITIONS,
        count=ROUNDS,
    )
    assert len(found["committed"]) == 2 * PARTITIONS * ROUNDS * 2 // 3
    assert len(found["aborted"]) == 2 * PARTITIONS * ROUNDS // 3
    assert values(found["read_stable"]) == values(found["committed"])
    assert values(found["read_all"]) == values(found["committed"]) + values(found["aborted"])
    assert values(found["copied"]) == values(found["committed"])
    assert set(values(found["copied"]).values()) == {1}
    assert found["group_rounds"] > 1
    assert found["fenced"] in FENCED, found["fenced"]
