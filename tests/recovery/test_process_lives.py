"""Starts, deaths and stops of the processes, with a stub in the place of the Kafka node."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.stub_client import (
    StubBroker,
    children,
    command_line,
    is_alive,
    wait_for,
)


def test_ready_line_and_process_names(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker:
        addresses = ",".join(f"{host}:{port}" for host, port in broker.bootstrap)
        expected = f"tidelog ready bootstrap={addresses} pid={broker.supervisor}\n"
        assert broker.ready_line == expected
        assert [broker.state(i)["node"] for i in (0, 1)] == ["1", "2"]
        assert command_line(broker.supervisor) == "tidelog supervisor"
        assert command_line(broker.worker(1)) == "tidelog worker node=2"
        assert sorted(children(broker.zygote)) == sorted([broker.worker(0), broker.worker(1)])
        assert broker.errors() == ""


def test_node_i_gets_the_port_after_the_one_before(tmp_path: Path) -> None:
    port = _free_port_pair()
    options = ("--listen", f"127.0.0.1:{port}", "--node-id", "7")
    with StubBroker(tmp_path / "d", *options, workers=2) as broker:
        assert broker.bootstrap == [("127.0.0.1", port), ("127.0.0.1", port + 1)]
        assert [broker.state(i)["node"] for i in (0, 1)] == ["7", "8"]


def _free_port_pair() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                with socket.create_server(("127.0.0.1", port + 1)):
                    return port
            except OSError:
                continue


@pytest.fixture
def hang_ups_not_ignored() -> Iterator[None]:
    """As a terminal has it: under nohup they are ignored, and a broker would keep that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_ups_not_ignored")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker:
        pids = [broker.zygote, broker.worker(0), broker.worker(1)]
        assert broker.stop(number) == 0
        for pid in pids:
            wait_for(lambda pid=pid: not is_alive(pid), "the end of a process")
        assert [(tmp_path / f"d/node-{n}/clean").exists() for n in (1, 2)] == [True, True]
        assert broker.errors() == ""


def test_ignored_hang_ups_stay_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StubBroker(tmp_path / "d") as broker:
            broker.process.send_signal(signal.SIGHUP)
            assert broker.ask("create t") == "0"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_reaches_everybody_and_stops_cleanly(tmp_path: Path) -> None:
    """A terminal signals the whole process group; only the supervisor acts on it."""
    with StubBroker(tmp_path / "d", workers=2) as broker:
        for pid in (broker.zygote, broker.worker(0), broker.worker(1), broker.supervisor):
            os.kill(pid, signal.SIGINT)
        assert broker.process.wait(30) == 0
        assert (tmp_path / "d/node-1/clean").exists()


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", "--log-level", "info") as broker:
        worker = broker.worker()
        os.kill(worker, signal.SIGSTOP)
        broker.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "broker stops" in broker.errors(), "the first signal")
        assert broker.stop() == 1
        assert not is_alive(worker)


def test_a_killed_worker_is_back_and_nobody_is_refused(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker:
        assert broker.ask("create t") == "0"
        before = broker.state(0)
        other = broker.worker(1)
        os.kill(int(before["pid"]), signal.SIGKILL)
        # Connects while nobody accepts: the backlog keeps it until the next worker does.
        after = broker.state(0)
        assert after["pid"] != before["pid"]
        assert int(after["epoch"]) == int(before["epoch"]) + 1
        assert broker.topics(0) == {"t"}
        assert broker.worker(1) == other
        assert "worker died" in broker.errors()


@pytest.mark.parametrize("how", ["crash", "exit 5", "exit 0", "bug"])
def test_whatever_ends_a_worker_it_is_replaced(tmp_path: Path, how: str) -> None:
    with StubBroker(tmp_path / "d") as broker:
        before = broker.worker()
        assert broker.ask(how) == ""
        assert broker.worker() != before
        if how == "bug":
            assert "InvariantError: on purpose" in broker.errors()
            assert "status=70" in broker.errors()


def test_a_worker_that_is_told_to_stop_stops_cleanly_and_is_replaced(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d") as broker:
        before = broker.worker()
        os.kill(before, signal.SIGTERM)
        wait_for(lambda: not is_alive(before), "the worker's end")
        assert broker.worker() != before
        assert "status=0" in broker.errors()


def test_deaths_in_a_row_wait_longer_and_fence_the_node(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", "--log-level", "info", workers=2) as broker:
        assert broker.ask("create t") == "0"
        for _ in range(2):
            broker.ask("crash")
        worker = broker.worker()
        (tmp_path / "d/node-1/crash").touch()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: "worker is fenced" in broker.errors(), "fencing")
        # Its clients go elsewhere: connections are refused now, and the others know.
        wait_for(lambda: _refused(broker.bootstrap[0]), "the closed listener")
        wait_for(lambda: "port=" in (e := broker.ask("endpoints", 1)) and _count(e) == 1, "news")
        (tmp_path / "d/node-1/crash").unlink()
        wait_for(lambda: not _refused(broker.bootstrap[0]), "the listener's return")
        assert broker.topics(0) == {"t"}
        wait_for(lambda: _count(broker.ask("endpoints", 1)) == 2, "the node's return")


def _count(endpoints: str) -> int:
    return endpoints.count("Endpoint(")


def _refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_hung_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    options = ("--set", "broker.heartbeat.interval.ms=50", "--set", "broker.session.timeout.ms=500")
    with StubBroker(tmp_path / "d", *options) as broker:
        before = broker.worker()
        assert broker.ask("hang") == ""
        assert broker.worker() != before
        assert "worker hangs node=1" in broker.errors().replace('"', "")


def test_a_supervisor_that_stood_still_kills_nobody(tmp_path: Path) -> None:
    options = ("--set", "broker.heartbeat.interval.ms=50", "--set", "broker.session.timeout.ms=300")
    with StubBroker(tmp_path / "d", *options) as broker:
        before = broker.worker()
        broker.process.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            broker.process.wait(1.5)
        broker.process.send_signal(signal.SIGCONT)
        assert broker.ask("create t") == "0"
        assert broker.worker() == before


def test_nobody_survives_the_supervisor(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker:
        pids = [broker.zygote, broker.worker(0), broker.worker(1)]
        broker.process.kill()
        broker.process.wait()
        for pid in pids:
            wait_for(lambda pid=pid: not is_alive(pid), "the end of an orphan")
        # They had the time to stop cleanly.
        assert [(tmp_path / f"d/node-{n}/clean").exists() for n in (1, 2)] == [True, True]


def test_without_its_zygote_the_broker_stops_cleanly(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d") as broker:
        worker = broker.worker()
        os.kill(broker.zygote, signal.SIGKILL)
        assert broker.process.wait(30) == 1
        assert not is_alive(worker)
        assert (tmp_path / "d/node-1/clean").exists()
        assert "the zygote died" in broker.errors()


def test_the_next_supervisor_takes_over_at_once(tmp_path: Path) -> None:
    """What was decided survives a kill of everything, and nodes keep their ids and ports' order."""
    with StubBroker(tmp_path / "d", workers=2) as broker:
        for name in ("a", "b", "c"):
            assert broker.ask(f"create {name}") == "0"
        epoch = int(broker.state(0)["epoch"])
        broker.process.kill()
        broker.process.wait()
    with StubBroker(tmp_path / "d", workers=2) as again:
        assert again.topics(0) == again.topics(1) == {"a", "b", "c"}
        assert int(again.state(0)["epoch"]) == epoch + 1
        assert again.ask("create a", 1) == "36"
