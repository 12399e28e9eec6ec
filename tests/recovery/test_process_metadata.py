"""Metadata over the control channel: any node takes requests, and answers hold on all of them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.recovery.stub_client import StubBroker, wait_for


def test_any_node_takes_requests_and_all_have_applied_when_it_answers(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=3) as broker:
        for number in range(30):
            assert broker.ask(f"create t{number}", number % 3) == "0"
            for node in range(3):
                assert f"t{number}" in broker.topics(node)


def test_requests_of_all_nodes_at_once(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker, ThreadPoolExecutor(8) as pool:
        names = [f"t{number % 60}" for number in range(120)]
        codes = list(pool.map(lambda n: broker.ask(f"create {n}", hash(n) % 2), names))
        assert sorted(codes) == ["0"] * 60 + ["36"] * 60
        assert broker.topics(0) == broker.topics(1) == set(names)
        assert broker.state(0)["version"] == broker.state(1)["version"]


def test_a_slow_node_holds_answers_back_and_a_dead_one_does_not(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker, ThreadPoolExecutor(1) as pool:
        (tmp_path / "d/node-2/slow").touch()
        pending = pool.submit(broker.ask, "create t", 0)
        wait_for(lambda: "t" in broker.topics(0), "the first node")
        assert broker.topics(1) == set()
        assert not pending.done()
        os.kill(broker.worker(1), signal.SIGKILL)
        assert pending.result(30) == "0"
        # Its next life starts from a snapshot that has the topic.
        assert broker.topics(1) == {"t"}


def test_deltas_that_wait_are_applied_together_and_in_order(tmp_path: Path) -> None:
    with StubBroker(tmp_path / "d", workers=2) as broker, ThreadPoolExecutor(20) as pool:
        (tmp_path / "d/node-2/slow").touch()
        names = [f"t{number}" for number in range(20)]
        pending = [pool.submit(broker.ask, f"create {name}", 0) for name in names]
        wait_for(lambda: broker.topics(0) == set(names), "the first node")
        (tmp_path / "d/node-2/slow").unlink()
        assert [answer.result(30) for answer in pending] == ["0"] * 20
        assert broker.topics(1) == set(names)


def test_configs_reach_the_workers(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("num.partitions=5\nlog.retention.hours=1\nunheard.of=x\n")
    options = ("--config", str(file), "--set", "num.partitions=6")
    with StubBroker(tmp_path / "d", *options) as broker:
        assert broker.ask("static num.partitions") == "6"
        assert broker.ask("static log.retention.hours") == "1"
        assert "server.properties:3: unheard.of" in broker.errors()


def test_advertised_listeners(tmp_path: Path) -> None:
    options = ("--set", "advertised.listeners=PLAINTEXT://broker.example:19092")
    with StubBroker(tmp_path / "d", *options, workers=2) as broker:
        told = broker.ask("endpoints")
        assert "host='broker.example', port=19092" in told
        assert "host='broker.example', port=19093" in told
    with StubBroker(tmp_path / "e", workers=2) as broker:
        told = broker.ask("endpoints")
        for _, port in broker.bootstrap:
            assert f"host='', port={port}" in told
