"""What a user sees when a broker cannot start: one clear line and a status, and nothing is left
running.
"""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path

import pytest

from tests.recovery.stub_client import StubBroker, children, is_alive, wait_for
from tidelog.metastore.local import LocalMetastore


def refused(broker: StubBroker) -> tuple[int, str]:
    """Starts it, expects it to end by itself; returns the status and what it said."""
    broker.launch()
    assert not broker.wait_ready()
    status = broker.process.wait(30)
    broker.__exit__(None, None, None)
    return status, broker.errors()


def one_line(text: str) -> bool:
    return text.startswith("tidelog serve: ") and text.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--workers", "many"), "--workers many"),
        (("--workers", "0"), "--workers 0"),
        (("--workers", "1000"), "--workers 1000"),
        (("--node-id", "-1"), "--node-id -1"),
        (("--listen", "nowhere"), "--listen nowhere"),
        (("--listen", "h:70000"), "--listen h:70000"),
        (("--listen", "::1:9092"), "brackets"),
        (("--set", "num.partitions"), "key=value"),
        (("--set", "num.partitions=x"), "num.partitions"),
        (("--config", "/does/not/exist"), "/does/not/exist"),
        (("--listen", "127.0.0.1:65535", "--workers", "2"), "65536"),
    ],
)
def test_usage(tmp_path: Path, options: tuple[str, ...], hint: str) -> None:
    status, text = refused(StubBroker(tmp_path / "d", *options))
    assert status == 2
    assert hint in text
    assert one_line(text), text


def test_an_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    status, text = refused(StubBroker(tmp_path / "d", "--nonsense"))
    assert status == 2
    assert "--nonsense" in text


def test_a_malformed_file_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("# fine\nnum.partitions=3\nlog.retention.ms=never\n")
    status, text = refused(StubBroker(tmp_path / "d", "--config", str(file)))
    assert status == 2
    assert "server.properties:3" in text and "log.retention.ms" in text
    assert one_line(text)


@pytest.mark.parametrize("listener", ["SSL://127.0.0.1:0", "SASL_PLAINTEXT://127.0.0.1:0"])
def test_protocols_to_come_are_refused(tmp_path: Path, listener: str) -> None:
    broker = StubBroker(tmp_path / "d", "--set", f"listeners={listener}")
    broker.arguments.remove("--listen")
    broker.arguments.remove("127.0.0.1:0")
    status, text = refused(broker)
    assert status == 2
    assert "not supported yet" in text


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, text = refused(StubBroker(tmp_path / "d", "--listen", f"127.0.0.1:{port}"))
    assert status == 1
    assert f"127.0.0.1:{port}" in text
    assert one_line(text)


def test_a_data_directory_in_use(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d") as broker:
        other = StubBroker(tmp_path / "d")
        other.data_dir = tmp_path / "other"
        status, text = refused(other)
        assert status == 1
        assert f"in use by process {broker.supervisor}" in text
        assert one_line(text)
        assert broker.ask("create t") == "0"


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broker = StubBroker(tmp_path / "d", "--data-dir", str(tmp_path / "file" / "d"))
    status, text = refused(broker)
    assert status == 1
    assert one_line(text)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 2}', "\x00"])
def test_a_damaged_cluster_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/cluster.json").write_text(content)
    status, text = refused(StubBroker(tmp_path / "d"))
    assert status == 1
    assert "cluster.json" in text
    assert one_line(text)


def test_a_damaged_store(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/metadata.db").write_bytes(b"no database at all, just text\n" * 1000)
    status, text = refused(StubBroker(tmp_path / "d"))
    assert status == 1
    assert "metadata.db" in text
    assert f"`tidelog metadata rebuild --data-dir {tmp_path / 'd'}`" in text
    assert one_line(text)


@pytest.mark.parametrize("store", ["missing", "holds nothing"])
def test_logs_without_what_the_store_held(tmp_path: Path, store: str) -> None:
    """Nothing is served in their place; also when the store is a good one, but a new one."""
    with StubBroker(tmp_path / "d"):
        pass
    (tmp_path / "d/node-1/t-0").mkdir()
    (tmp_path / "d/node-1/t-0/partition.metadata").write_text("?")
    (tmp_path / "d/metadata.db").unlink()
    if store == "holds nothing":
        LocalMetastore(tmp_path / "d/metadata.db").close()
    status, text = refused(StubBroker(tmp_path / "d"))
    assert status == 1
    assert store in text
    assert f"`tidelog metadata rebuild --data-dir {tmp_path / 'd'}`" in text
    assert one_line(text)


def test_a_store_of_another_cluster(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "a"):
        pass
    file = tmp_path / "a/cluster.json"
    content = json.loads(file.read_text())
    content["cluster_id"] = "z" * 22
    file.write_text(json.dumps(content))
    status, text = refused(StubBroker(tmp_path / "a"))
    assert status == 1
    assert "cluster" in text


def test_a_worker_whose_disk_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "d/node-1").mkdir(parents=True)
    (tmp_path / "d/node-1/fail").touch()
    status, text = refused(StubBroker(tmp_path / "d"))
    assert status == 1
    assert "tidelog serve: node 1 cannot start: the stub's disk is broken\n" in text


def test_a_worker_that_cannot_live_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "d/node-2").mkdir(parents=True)
    (tmp_path / "d/node-2/crash").touch()
    status, text = refused(StubBroker(tmp_path / "d", workers=2))
    assert status == 1
    assert "tidelog serve: node 2 cannot start: it died 3 times\n" in text
    # The healthy one was stopped cleanly with it.
    assert (tmp_path / "d/node-1/clean").exists()


def test_nodes_come_and_go(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker:
        pass
    with StubBroker(tmp_path / "d", "--workers", "auto") as broker:
        assert len(broker.bootstrap) == 2
    # Node 2 holds nothing: it may go.
    with StubBroker(tmp_path / "d", workers=1) as broker:
        assert broker.ask("create t") == "0"
        assert json.loads((tmp_path / "d/cluster.json").read_text())["nodes"] == {"1": "node-1"}
    with StubBroker(tmp_path / "d", workers=3) as broker:
        for name in ("u", "v", "w"):
            assert broker.ask(f"create {name}", 2) == "0"
    with StubBroker(tmp_path / "d", workers=2) as broker:  # node 3 leaves its partitions behind
        assert broker.topics(1) == {"t", "u", "v", "w"}
        assert broker.errors().count("logs moved") == 1
    with StubBroker(tmp_path / "d", workers=3) as broker:
        assert broker.topics(2) == {"t", "u", "v", "w"}
    status, text = refused(StubBroker(tmp_path / "d", "--node-id", "5"))
    assert status == 2
    assert "nodes 1 to 3" in text


def test_the_store_is_told_the_truth(tmp_path: Path) -> None:
    """A look from outside: everything is in the store and synced when the answer comes."""
    with StubBroker(tmp_path / "d") as broker:
        assert broker.ask("create t") == "0"
        with sqlite3.connect(tmp_path / "d/metadata.db") as db:
            kinds = dict(db.execute("SELECT kind, count(*) FROM entity GROUP BY kind"))
        db.close()
        assert kinds == {"cluster": 1, "node": 1, "topic": 1, "feature": 1, "partition": 1}


def test_a_stop_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    broker = StubBroker(tmp_path / "d", workers=2)
    broker.launch()
    wait_for(lambda: (tmp_path / "d/metadata.db").exists(), "a start under way")
    started = children(broker.process.pid)
    started += [pid for child in started for pid in children(child)]
    broker.process.terminate()
    assert broker.process.wait(30) == 0
    for pid in started:
        wait_for(lambda pid=pid: not is_alive(pid), "the end of a process")
    broker.__exit__(None, None, None)
    assert "Traceback" not in broker.errors()
