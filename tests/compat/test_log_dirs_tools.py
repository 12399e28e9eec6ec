"""Apache's tools on nodes with several log directories: kafka-log-dirs, and
kafka-reassign-partitions with log_dirs, throttled and not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import TARGET_IS_REFERENCE, Target, running_target
from tests.compat.java_cli import Tools
from tests.compat.tools import ToolServer

pytestmark = [
    pytest.mark.usefixtures("java"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(TARGET_IS_REFERENCE, reason="the reference is run with one directory"),
]
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("disks")


@pytest.fixture(scope="module")
def target(root: Path) -> Iterator[Target]:
    directories = f"log.dirs={root / 'a'},{root / 'b'}"
    with running_target(root / "a", "--workers", "2", "--set", directories) as running:
        yield running


@pytest.fixture
def cli(tools: ToolServer, target: Target) -> Tools:
    return Tools(tools, target)


def described(cli: Tools, topic: str) -> dict[str, list[dict[str, Any]]]:
    """The topic's partitions by log directory."""
    out = cli.ok("kafka-log-dirs", "--describe", "--topic-list", topic)
    answer = json.loads(out.splitlines()[-1])
    found = {d["logDir"]: d for b in answer["brokers"] for d in b["logDirs"]}
    assert all(d["error"] is None for d in found.values())
    return {path: d["partitions"] for path, d in found.items()}


def place(cli: Tools, topic: str) -> str:
    (path,) = [path for path, held in described(cli, topic).items() if held]
    return path


def plan(root: Path, topic: str, node: int, path: str) -> tuple[str, str]:
    move = {"topic": topic, "partition": 0, "replicas": [node], "log_dirs": [path]}
    file = root / "plan.json"
    file.write_text(json.dumps({"version": 1, "partitions": [move]}))
    return "--reassignment-json-file", str(file)


def verify(cli: Tools, file: tuple[str, str]) -> str:
    """Until everything is where it shall be; returns what was said then."""
    deadline = time.monotonic() + TIMEOUT_S
    while "still in progress" in (shown := cli.ok("kafka-reassign-partitions", *file, "--verify")):
        assert time.monotonic() < deadline, shown
    return shown


def other(root: Path, path: str) -> str:
    node = Path(path).name
    return str(root / ("b" if path == str(root / "a" / node) else "a") / node)


def test_all_directories_are_described(cli: Tools, root: Path) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "ld-four", "--partitions", "4")
    found = described(cli, "ld-four")
    assert set(found) == {str(root / name / f"node-{node}") for name in "ab" for node in (1, 2)}
    assert all(len(held) == 1 for held in found.values())


def test_a_log_is_moved_between_directories(cli: Tools, root: Path) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "ld-move", "--replica-assignment", "1")
    cli.produce("ld-move", [f"line {n}" for n in range(500)])
    before = place(cli, "ld-move")
    wanted = other(root, before)
    file = plan(root, "ld-move", 1, wanted)
    shown = cli.ok("kafka-reassign-partitions", *file, "--execute")
    assert f"started moving log directory to {wanted} for replica ld-move-0 with broker 1" in shown
    assert "completed successfully" in verify(cli, file)
    assert place(cli, "ld-move") == wanted
    cli.produce("ld-move", ["one more"])
    assert cli.consume("ld-move", 501) == [f"line {n}" for n in range(500)] + ["one more"]


def test_a_throttled_move_shows_its_copy(cli: Tools, root: Path) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "ld-slow", "--replica-assignment", "2",
           "--config", "segment.bytes=1048576")  # fmt: skip
    cli.ok("kafka-producer-perf-test", "--topic", "ld-slow", "--num-records", "5000",
           "--record-size", "1000", "--throughput", "-1")  # fmt: skip
    before = place(cli, "ld-slow")
    wanted = other(root, before)
    file = plan(root, "ld-slow", 2, wanted)
    slow = ("--replica-alter-log-dirs-throttle", "100000")
    cli.ok("kafka-reassign-partitions", *file, "--execute", *slow)
    assert "still in progress" in cli.ok("kafka-reassign-partitions", *file, "--verify")
    found = described(cli, "ld-slow")
    (copy,) = found[wanted]
    assert copy["isFuture"] and copy["size"] > 0 and copy["offsetLag"] > 0
    assert [each["isFuture"] for each in found[before]] == [False]
    fast = ("--replica-alter-log-dirs-throttle", "1000000000", "--additional")
    cli.ok("kafka-reassign-partitions", *file, "--execute", *fast)
    shown = verify(cli, file)
    assert "completed successfully" in shown
    assert place(cli, "ld-slow") == wanted
    assert "throttle" in shown.lower()


def test_a_directory_that_there_is_not(cli: Tools, root: Path) -> None:
    cli.ok("kafka-topics", "--create", "--topic", "ld-none", "--replica-assignment", "1")
    file = plan(root, "ld-none", 1, "/nowhere")
    result = cli.run("kafka-reassign-partitions", *file, "--execute")
    assert "LogDirNotFoundException" in result.out + result.err
