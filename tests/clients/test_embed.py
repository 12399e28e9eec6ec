"""Brokers held by programs: how they end with them, and what they leave of them.

Only ever signals processes of brokers and programs that the test started.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest

import tidelog
from tests.house.processes import group, held, listens
from tidelog.embed import Broker, BrokerStartError
from tidelog.errors import KafkaError, StorageError
from tidelog.log import PartitionLog

DEADLINE_S = 30.0
#: How often the test for leaks starts and stops a broker; the long version has 100.
CYCLES = int(os.environ.get("TIDELOG_EMBED_CYCLES", "4"))


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


PARENT = """
import os, signal, sys
import tidelog
{before}
broker = tidelog.Broker().start()
print(broker.pid, broker.data_dir, flush=True)
{after}
"""


def run_parent(before: str = "", after: str = "sys.stdin.read()") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT.format(before=before, after=after)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def said_by(parent: subprocess.Popen[str]) -> tuple[int, Path]:
    """Reads what the parent said of its broker."""
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    return int(pid), Path(folder)


def test_a_data_directory_stays(tmp_path: Path) -> None:
    broker = Broker(data_dir=tmp_path / "data", workers=2)
    broker.start()
    broker.create_topic("kept", partitions=2)
    assert broker.stop() == 0
    assert len(list((tmp_path / "data").glob("node-*/.kafka_cleanshutdown"))) == 2
    # As many workers as before, and the same object again.
    with Broker(data_dir=str(tmp_path / "data"), workers=None) as again:
        assert again.bootstrap_servers.count(",") == 1
        with pytest.raises(KafkaError):
            again.create_topic("kept")
    with broker:
        assert broker.is_running
    assert (tmp_path / "data" / "cluster.json").exists()


def test_listeners_of_the_configs() -> None:
    with Broker(configs={"listeners": "PLAINTEXT://localhost:0"}) as broker:
        assert broker.bootstrap_servers == f"localhost:{broker.port}"


def test_a_directory_in_use(tmp_path: Path) -> None:
    with Broker(data_dir=tmp_path / "data") as broker:
        with pytest.raises(BrokerStartError, match=f"in use by process {broker.pid}"):
            Broker(data_dir=tmp_path / "data").start()
        assert broker.is_running


def test_a_broker_that_hangs_is_killed() -> None:
    broker = Broker().start()
    pid, folder, port = broker.pid, broker.data_dir, broker.port
    broker.timeout = 0.2
    os.kill(pid, signal.SIGSTOP)
    assert broker.stop() == -signal.SIGKILL
    assert not group(pid)
    assert not folder.exists()
    assert not listens(port)


def test_a_broker_that_was_killed(tmp_path: Path) -> None:
    broker = Broker(data_dir=tmp_path / "data").start()
    pid = broker.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not broker.is_running, "the death is seen")
    assert broker.stop() == -signal.SIGKILL
    # Its workers stop by themselves, and they were waited for: the directory is free at once.
    assert not group(pid)
    with broker:
        assert broker.is_running


def test_the_log_is_kept() -> None:
    with Broker(configs={"no.such.config": 1}) as broker:
        assert "no.such.config" in broker.log()
    assert "no.such.config" in broker.log()


@pytest.mark.parametrize(
    "before", ["", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))"], ids=["", "masked"]
)
def test_it_ends_with_a_killed_parent(before: str) -> None:
    with run_parent(before) as parent:
        pid, folder = said_by(parent)
        assert group(pid)
        parent.kill()
        parent.wait()
        wait_for(lambda: not group(pid), "the broker ends")
        # In order: its logs are marked so.
        assert list(folder.glob("node-1/.kafka_cleanshutdown"))
        subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.mark.parametrize(
    "after",
    ["", "raise SystemExit(3)", "del broker; import gc; gc.collect(); sys.stdin.read()"],
    ids=["end", "exit", "collected"],
)
def test_a_forgotten_broker_is_stopped(after: str) -> None:
    with run_parent("", after) as parent:
        pid, folder = said_by(parent)
        wait_for(lambda: not group(pid) and not folder.exists(), "the broker ends")
        parent.communicate()


def test_signals_and_masks_do_not_matter() -> None:
    """Whatever the program ignores or blocks is inherited, and the stop is clean all the same."""
    ignore = "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 13, 15, 17)]"
    mask = "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))"
    for before in (ignore, mask):
        with run_parent(before, "print(broker.stop())") as parent:
            pid, folder = said_by(parent)
            assert parent.communicate()[0].split() == ["0"]
            assert not group(pid) and not folder.exists()


def test_a_forked_child_harms_nothing() -> None:
    with Broker() as broker:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(broker.is_running) + broker.stop()
                gc.collect()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert broker.is_running and broker.data_dir.exists()
        broker.create_topic("t")


def test_a_forked_child_does_not_keep_it_alive() -> None:
    after = (
        "if os.fork() == 0:\n"
        "    import time\n"
        "    print('child', flush=True)\n"
        "    time.sleep(600)\n"
        "sys.stdin.read()"
    )
    with run_parent("", after) as parent:
        pid, folder = said_by(parent)
        assert parent.stdout is not None
        parent.stdout.readline()
        text = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
        child = next(int(c) for c in text.split() if int(c) != pid)
        parent.kill()
        parent.wait()
        wait_for(lambda: not group(pid), "the broker ends")
        os.kill(child, signal.SIGKILL)
        subprocess.run(["rm", "-r", str(folder)], check=True)


async def test_in_a_coroutine() -> None:
    before = held()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with Broker() as broker:
        assert broker.is_running
        pid = broker.pid
    ticking.cancel()
    assert ticks > 100  # the loop went on
    assert not group(pid)
    assert held()[1] == before[1]


def test_from_any_thread_beside_others() -> None:
    seen: list[tuple[int, int]] = []
    failures: list[BaseException] = []
    together = threading.Barrier(2)

    def run() -> None:
        try:
            with Broker() as broker:
                together.wait(DEADLINE_S)
                seen.append((broker.pid, broker.port))
                together.wait(DEADLINE_S)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({pid for pid, _ in seen}) == len({port for _, port in seen}) == 2


def test_a_package_that_only_the_program_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child runs the same package, whatever stands in the working directory."""
    (tmp_path / "tidelog.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "logging.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with Broker() as broker:
        root = Path(tidelog.__file__).parents[1]
        maps = [Path(f"/proc/{pid}/maps").read_text() for pid in group(broker.pid)]
        assert any(f"{root}/tidelog/_native" in text for text in maps)


def test_the_log_of_a_stopped_broker(tmp_path: Path) -> None:
    """A program reads and writes what a broker keeps, and the broker goes on with it."""
    data_dir = tmp_path / "data"
    topics = {"one": [b"first"], "two": [b"other"]}

    def produce(broker: Broker, topic: str, value: bytes) -> None:
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce(topic, value)
        assert producer.flush(DEADLINE_S) == 0

    with Broker(data_dir=data_dir) as broker:
        for topic, values in topics.items():
            broker.create_topic(topic)
            produce(broker, topic, values[0])
        with pytest.raises(StorageError, match="in use"):
            PartitionLog.open(data_dir / "node-1", topic="one")
    with PartitionLog.open(data_dir / "node-1", topic="one") as log:
        assert log.report.clean
        assert [record.value for record in log.records()] == [b"first"]
        log.append(b"by hand")
        # A worker waits for the lock, which an earlier life of it might still hold.
        with pytest.raises(BrokerStartError, match="not ready in time"):
            Broker(data_dir=data_dir, timeout=2).start()
    with Broker(data_dir=data_dir) as broker:
        produce(broker, "one", b"last")
        assert "recovered" not in broker.log()
    for topic, wanted in (("one", [b"first", b"by hand", b"last"]), ("two", [b"other"])):
        with PartitionLog.open(data_dir / "node-1", topic=topic) as log:
            assert [record.value for record in log.records()] == wanted


@pytest.mark.timeout(60 + 3 * CYCLES)
def test_nothing_leaks() -> None:
    """Processes, ports, threads, descriptors, files; signals and title of this program."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    title = Path("/proc/self/cmdline").read_bytes()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = held()
    folders: list[Path] = []
    processes: set[int] = set()
    ports: list[int] = []
    for _ in range(CYCLES):
        with Broker() as broker:
            folders.append(broker.data_dir)
            processes |= group(broker.pid)
            ports.append(broker.port)
    assert held() == before
    assert not any(folder.exists() for folder in folders)
    assert len(processes) == 3 * CYCLES
    # A number may belong to another process by now, but not to a child or a broker.
    names = [Path("/proc", str(p), "cmdline") for p in processes if Path("/proc", str(p)).exists()]
    assert not [name for name in names if b"tidelog" in name.read_bytes()]
    assert not any(listens(port) for port in ports)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert Path("/proc/self/cmdline").read_bytes() == title
