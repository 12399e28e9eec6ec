"""kafka-features shows and changes transaction.version, and producers follow it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.compat.conftest import TARGET_IS_REFERENCE, Target, running_target
from tests.compat.java_cli import Tools
from tests.compat.tools import ToolServer

RECORDS = 500
pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A cluster of its own: what is changed here holds for all of it."""
    if TARGET_IS_REFERENCE:
        pytest.skip("the reference keeps its features")
    with running_target(tmp_path_factory.mktemp("features"), "--workers", "2") as running:
        yield running


@pytest.fixture
def cli(tools: ToolServer, target: Target) -> Tools:
    return Tools(tools, target)


def finalized(cli: Tools) -> int:
    """The level of transaction.version, 0 when it has none."""
    described = cli.ok("kafka-features", "describe")
    (line,) = [line for line in described.splitlines() if "transaction.version" in line]
    assert re.search(r"SupportedMinVersion: 0\s+SupportedMaxVersion: 2\b", line), line
    found = re.search(r"FinalizedVersionLevel: (\d+)", line)
    assert found is not None, line
    return int(found[1])


def epochs_of(cli: Tools, transactional_id: str) -> tuple[int, int]:
    """How many epochs a producer used up for its transactions: (epoch, transactions)."""
    topic = f"{transactional_id}-topic"
    cli.ok("kafka-topics", "--create", "--topic", topic, "--partitions", "1")
    cli.ok(
        "kafka-producer-perf-test",
        "--topic", topic,
        "--num-records", str(RECORDS),
        "--throughput", "1000",
        "--record-size", "100",
        "--transactional-id", transactional_id,
        "--transaction-duration-ms", "50",
    )  # fmt: skip
    lines = cli.consume(topic, RECORDS, "--isolation-level", "read_committed")
    assert len(lines) == RECORDS
    transactions = cli.offsets(topic)[0] - RECORDS  # each has left a marker
    described = cli.ok(
        "kafka-transactions", "describe", "--transactional-id", transactional_id
    ).splitlines()
    names = described[0].split("\t")
    values = dict(zip((n.strip() for n in names), described[1].split("\t"), strict=False))
    return int(values["ProducerEpoch"]), transactions


def test_the_version_of_transactions_goes_down_and_up(cli: Tools) -> None:
    assert finalized(cli) == 2
    epoch, transactions = epochs_of(cli, "second")
    assert transactions > 1
    assert epoch == transactions, "each transaction has an epoch of its own"

    cli.ok("kafka-features", "downgrade", "--feature", "transaction.version=1")
    assert finalized(cli) == 1
    epoch, transactions = epochs_of(cli, "first")
    assert transactions > 1
    assert epoch == 0
    assert cli.run("kafka-features", "upgrade", "--feature", "transaction.version=3").code == 1
    assert finalized(cli) == 1

    cli.ok("kafka-features", "upgrade", "--feature", "transaction.version=2")
    assert finalized(cli) == 2
    cli.ok("kafka-features", "disable", "--feature", "transaction.version")
    assert finalized(cli) == 0
