"""A broker as a variable: values, failures, one life. Longer lives: tests/clients/test_embed.py."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import tidelog
from tests.house.processes import group, held, listens
from tidelog.embed import Broker, BrokerError, BrokerStartError, config_text
from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode


def test_the_package_stays_cheap() -> None:
    code = "import sys; before = set(sys.modules); import tidelog; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == {"tidelog"}
    assert tidelog.Broker is Broker
    assert {"Broker", "log"} <= set(dir(tidelog))
    with pytest.raises(AttributeError, match="nothing"):
        tidelog.nothing  # noqa: B018


def test_config_values() -> None:
    for value, text in ((True, "true"), (False, "false"), (3, "3"), (0.5, "0.5"), ("a", "a")):
        assert config_text("name", value) == text
    for wrong in (None, b"x", ["a"]):
        with pytest.raises(TypeError, match="name is a"):
            Broker(configs={"name": wrong})  # type: ignore[dict-item]


def test_a_broker_that_does_not_run() -> None:
    broker = Broker()
    assert (broker.is_running, broker.log(), broker.stop()) == (False, "", 0)
    assert "not running" in repr(broker)
    for use in (
        lambda: broker.bootstrap_servers,
        lambda: broker.port,
        lambda: broker.data_dir,
        lambda: broker.pid,
        lambda: broker.create_topic("t"),
    ):
        with pytest.raises(BrokerError, match="not running"):
            use()


def test_a_life() -> None:
    with Broker(workers=2, node_id=5, configs={"num.partitions": 3}) as broker:
        assert broker.is_running
        assert broker.start() is broker  # it runs already
        servers = broker.bootstrap_servers.split(",")
        assert len(servers) == 2 and servers[0] == f"127.0.0.1:{broker.port}"
        folder, pid, port = broker.data_dir, broker.pid, broker.port
        assert {path.name for path in folder.glob("node-*")} == {"node-5", "node-6"}
        # Supervisor, zygote, two workers: in a session of their own, none of them ours.
        processes = group(pid)
        assert len(processes) == 4 and pid in processes
        assert os.getsid(pid) == pid
        broker.create_topic("t", partitions=-1, configs={"retention.ms": 1000})
        assert len(list(folder.glob("node-*/t-*"))) == 3
        with pytest.raises(KafkaError) as refused:
            broker.create_topic("t")
        assert refused.value.error_code == ErrorCode.TOPIC_ALREADY_EXISTS
        broker.delete_topic("t")
        with pytest.raises(KafkaError) as refused:
            broker.delete_topic("t")
        assert refused.value.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert not broker.is_running
    assert not folder.exists()
    assert not any(Path("/proc", str(process)).exists() for process in processes)
    assert not listens(port)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"configs": {"num.partitions": "many"}}, 2, "num.partitions"),
        ({"workers": -1}, 2, "--workers -1"),
        ({"listen": "nonsense"}, 2, "HOST:PORT"),
        ({"listen": "192.0.2.1:0"}, 1, "cannot listen on"),
    ],
)
def test_a_start_that_fails(
    options: dict[str, object],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = held()
    broker = Broker(**options)  # type: ignore[arg-type]
    with pytest.raises(BrokerStartError, match=said) as failed:
        broker.start()
    assert failed.value.exit_status == status
    assert said in failed.value.log
    assert not broker.is_running
    assert held() == before
    assert not list(tmp_path.iterdir())


def test_a_start_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = held()
    with pytest.raises(BrokerStartError, match="not ready in time") as failed:
        Broker(timeout=0.001).start()
    assert failed.value.exit_status is None
    assert held() == before
    assert not list(tmp_path.iterdir())


async def test_a_start_that_is_cancelled() -> None:
    before = held()
    starting = asyncio.create_task(Broker().__aenter__())
    while threading.active_count() == len(before[1]) and not starting.done():
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert held()[1] == before[1]
    with pytest.raises(BrokerStartError, match="--workers -1"):
        async with Broker(workers=-1):
            pass
