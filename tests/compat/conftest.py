"""What the compat suite shares: the reference broker, Apache's tools, and the broker under test.

The broker under test is Tidelog; with TIDELOG_COMPAT_TARGET=reference it is the reference itself,
which shows that a test asks nothing that Apache Kafka does not do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compat.reference import ReferenceBroker, ReferenceMissing, install
from tests.compat.tools import ToolServer
from tests.house.broker import ServedBroker
from tests.house.zookeeper import ZooKeeper, ZooKeeperMissing
from tests.house.zookeeper import install as install_zookeeper

TARGET_IS_REFERENCE = os.environ.get("TIDELOG_COMPAT_TARGET") == "reference"


@dataclass(frozen=True)
class Target:
    """A running broker: where clients connect, and where its files lie."""

    name: str
    bootstrap: str
    data_dir: Path

    @property
    def host(self) -> str:
        return self.bootstrap.split(",")[0].rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.bootstrap.split(",")[0].rpartition(":")[2])


@pytest.fixture(scope="session")
def java() -> None:
    """Skips the test when the reference cannot be installed here, and says why."""
    try:
        install()
    except ReferenceMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def zookeeper_files() -> None:
    """Skips the test when ZooKeeper cannot be had here, and says why."""
    try:
        install_zookeeper()
    except ZooKeeperMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def one_zookeeper(
    zookeeper_files: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ZooKeeper]:
    """A ZooKeeper of one server; each test has a path of its own in it."""
    with ZooKeeper(tmp_path_factory.mktemp("zookeeper")) as running:
        yield running


@pytest.fixture(scope="session")
def tools(java: None) -> Iterator[ToolServer]:
    """One JVM that runs Apache's tools in turn."""
    with ToolServer() as server:
        yield server


@pytest.fixture(scope="module")
def reference(java: None) -> Iterator[Target]:
    """A fresh reference broker."""
    with ReferenceBroker() as broker:
        yield Target("reference", broker.bootstrap, broker.data_dir)


@contextmanager
def running_target(folder: Path, *arguments: str) -> Iterator[Target]:
    """The broker under test with its files below `folder`; stopped cleanly.

    arguments: for Tidelog's command line; without, it has one worker.
    """
    if TARGET_IS_REFERENCE:
        with ReferenceBroker(data_dir=folder) as broker:
            yield Target("reference", broker.bootstrap, broker.data_dir)
        return
    with ServedBroker(folder / "data", arguments or ("--workers", "1")) as served:
        yield Target("tidelog", served.bootstrap_servers, folder / "data")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One broker under test for all tests of a module."""
    with running_target(tmp_path_factory.mktemp("target")) as running:
        yield running


@pytest.fixture(scope="module", params=[1, 3], ids=["one worker", "three workers"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """The broker under test, once as one node and once as a cluster of three."""
    if request.param > 1 and TARGET_IS_REFERENCE:
        pytest.skip("the reference is run as one node")
    folder = tmp_path_factory.mktemp("cluster")
    with running_target(folder, "--workers", str(request.param)) as running:
        yield running
