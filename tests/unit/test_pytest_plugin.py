"""The pytest plugin: its pure parts, and sessions of pytest that use it.

Sessions run in processes of their own: what this one has loaded must not matter.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tidelog.controller.topic_names import name_problem
from tidelog.pytest_plugin import parse_configs, topic_name

#: An environment that was installed before the entry point was declared names the plugin itself.
PLUGIN = (
    []
    if any(point.value == "tidelog.pytest_plugin" for point in entry_points(group="pytest11"))
    else ["-p", "tidelog.pytest_plugin"]
)


def run_session(folder: Path, text: str, *options: str) -> tuple[int, str]:
    """Runs pytest on a test module of that text; returns status and output."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PLUGIN, *options]
    done = subprocess.run(
        [*command, str(folder)], cwd=folder, capture_output=True, text=True, timeout=50
    )
    return done.returncode, done.stdout + done.stderr


def test_topic_names() -> None:
    assert topic_name("test_it", "0a") == "test_it-0a"
    assert topic_name("test_it[a/b ä]", "0a") == "test_it-a-b-0a"
    for test in ("", "[]", "x" * 300, "..", "äö", "test_it[\n]"):
        assert name_problem(topic_name(test, "f" * 12)) is None, test


def test_configs() -> None:
    assert parse_configs([]) == {}
    assert parse_configs([" a = b ", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(pytest.UsageError, match="KEY=VALUE"):
            parse_configs([wrong])


def test_it_loads_nothing_before_it_is_used() -> None:
    code = "import sys, tidelog.pytest_plugin; print(*[m for m in sys.modules if 'tidelog' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["tidelog", "tidelog.pytest_plugin"]


def test_a_session_with_options_and_topics(tmp_path: Path) -> None:
    status, output = run_session(
        tmp_path,
        """
import os, pathlib, pytest
from tidelog.errors import KafkaError
SEEN = []

def test_broker(tidelog_broker):
    assert tidelog_broker.is_running
    assert tidelog_broker.bootstrap_servers.count(",") == 1
    with pytest.raises(KafkaError) as refused:
        tidelog_broker.create_topic("a", partitions=2, configs={"max.message.bytes": "x"})
    SEEN.append(tidelog_broker)

@pytest.mark.parametrize("word", ["a/b", "c"])
def test_topics_are_fresh(tidelog_broker, tidelog_topic, word):
    assert SEEN[0] is tidelog_broker
    assert tidelog_topic not in SEEN and tidelog_topic.startswith("test_topics_are_fresh-")
    SEEN.append(tidelog_topic)
    folders = sorted(p.name for p in tidelog_broker.data_dir.glob("node-*/test_topics*"))
    assert folders.count(f"{tidelog_topic}-0") == 1
    assert f"{tidelog_topic}-1" not in folders

@pytest.mark.tidelog_topic(partitions=3, configs={"retention.ms": 60_000})
def test_marked(tidelog_broker, tidelog_topic):
    folders = list(tidelog_broker.data_dir.glob(f"node-*/{tidelog_topic}-?"))
    assert len(folders) == 3
    tidelog_broker.delete_topic(tidelog_topic)

def test_the_topics_were_deleted(tidelog_broker):
    for name in SEEN[1:]:
        tidelog_broker.create_topic(name)
    text = pathlib.Path(f"/proc/{tidelog_broker.pid}/cmdline").read_text()
    pathlib.Path("data_dir").write_text(f"{tidelog_broker.data_dir}\\n{tidelog_broker.pid}")
""",
        "--tidelog-workers=2",
        "--tidelog-config",
        "auto.create.topics.enable=false",
    )
    assert (status, "5 passed" in output) == (0, True), output
    directory, pid = (tmp_path / "data_dir").read_text().split("\n")
    assert not Path(directory).exists()
    assert not Path("/proc", pid).exists()


def test_a_failure_shows_what_the_broker_said(tmp_path: Path) -> None:
    status, output = run_session(
        tmp_path,
        """
def test_fails(tidelog_broker):
    assert False

def test_without():
    assert False
""",
        "--tidelog-config=no.such.config=1",
    )
    assert status == 1
    assert output.count("tidelog broker log") == 1
    assert "no.such.config" in output


def test_a_broker_that_cannot_start(tmp_path: Path) -> None:
    text = "def test_it(tidelog_broker): pass\n"
    status, output = run_session(tmp_path, text, "--tidelog-config=num.partitions=many")
    assert status == 1
    assert "BrokerStartError" in output and "num.partitions" in output
    status, output = run_session(tmp_path, text, "--tidelog-config=nonsense")
    assert status != 0
    assert "it is not KEY=VALUE" in output


def test_each_worker_of_xdist_has_its_own_broker(tmp_path: Path) -> None:
    status, output = run_session(
        tmp_path,
        """
import os, pathlib, pytest

@pytest.mark.parametrize("n", range(4))
def test_it(tidelog_broker, tidelog_topic, n):
    worker = os.environ["PYTEST_XDIST_WORKER"]
    with open("seen", "a") as file:
        file.write(f"{worker} {tidelog_broker.pid} {tidelog_broker.data_dir}\\n")
""",
        "-n2",
    )
    assert status == 0, output
    lines = {tuple(line.split()) for line in (tmp_path / "seen").read_text().splitlines()}
    assert len(lines) == len({worker for worker, _, _ in lines})
    for _, pid, directory in lines:
        assert not Path("/proc", pid).exists()
        assert not Path(directory).exists()
