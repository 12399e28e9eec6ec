"""`tidelog profile stages` on a broker under load: stages, names, and that no answer suffers."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.house.broker import ServedBroker
from tidelog.cli.main import main
from tidelog.cpu_samples import NodeSamples, Order
from tidelog.profiling.gather import ProfileError
from tidelog.profiling.results import Report
from tidelog.profiling.sampling import Nodes, nodes_of, sample_node, sample_nodes
from tidelog.profiling.stages import shares

DEADLINE_S = 50
RECORDS_MAX = 2_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    data = tmp_path_factory.mktemp("stages") / "data"
    with ServedBroker(data, ["--workers", "2"]) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(broker: ServedBroker) -> Nodes:
    return nodes_of(broker.bootstrap_servers)


def tidelog(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(list(arguments))
    return status, out.getvalue(), err.getvalue()


def create(broker: ServedBroker, topic: str) -> None:
    client = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    client.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)


class Load(threading.Thread):
    """Calls `step` until it is left; what it raises is raised there."""

    def __init__(self, step: Callable[[], None]) -> None:
        super().__init__()
        self._step = step
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                self._step()
        except BaseException as error:
            self._failure = error

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        if self._failure is not None:
            raise self._failure


class Written:
    """Small requests, and what was acknowledged of them: (partition, offset) -> value."""

    def __init__(self, broker: ServedBroker, topic: str) -> None:
        self.topic = topic
        self.acknowledged: dict[tuple[int, int], bytes] = {}
        self._sent = 0
        self._producer = Producer(
            {"bootstrap.servers": broker.bootstrap_servers, "batch.num.messages": 2, "linger.ms": 0}
        )

    def step(self) -> None:
        def delivered(error: object, message: object) -> None:
            assert error is None, error
            place = (message.partition(), message.offset())  # type: ignore[attr-defined]
            assert place not in self.acknowledged
            self.acknowledged[place] = message.value()  # type: ignore[attr-defined]

        for _ in range(500):
            if self._sent < RECORDS_MAX:
                value = b"%d " % self._sent + bytes(200)
                self._producer.produce(self.topic, value, on_delivery=delivered)
                self._sent += 1
        self._producer.flush()
        assert len(self.acknowledged) == self._sent


class Read:
    """Reads everything again and again, and compares it with what was acknowledged."""

    def __init__(self, broker: ServedBroker, written: Written) -> None:
        self._written = written
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker.bootstrap_servers,
                "group.id": "stages",
                "enable.auto.commit": False,
                "fetch.message.max.bytes": 20_000,
            }
        )
        self._left: set[tuple[int, int]] = set()
        self.passes = 0

    def step(self) -> None:
        if not self._left:
            self.passes += 1
            self._left = set(self._written.acknowledged)
            self._consumer.assign([TopicPartition(self._written.topic, i, 0) for i in range(2)])
        for message in self._consumer.consume(1000, 1.0):
            assert message.error() is None, message.error()
            place = (message.partition() or 0, message.offset() or 0)
            assert message.value() == self._written.acknowledged[place]
            self._left.discard(place)


def until_seen(nodes: Nodes, wanted: set[str]) -> list[NodeSamples]:
    """Samples until the stages were seen."""
    deadline = time.monotonic() + DEADLINE_S
    seen: set[str] = set()
    while True:
        samples = sample_nodes(nodes.cluster_id, nodes.node_ids, Order(700, 2000))
        for one in samples:
            seen |= set(shares(one, [0]).ticks)
        if wanted <= seen:
            return samples
        assert time.monotonic() < deadline, wanted - seen


def test_every_answer_is_right_while_samples_are_taken(broker: ServedBroker, nodes: Nodes) -> None:
    """Signals at 2 kHz interrupt every system call of the broker; nobody must notice."""
    create(broker, "sampled")
    written = Written(broker, "sampled")
    with Load(written.step):
        samples = until_seen(nodes, {"receive", "check", "append", "answer"})
    assert {one.node_id for one in samples} == {1, 2}
    for one in samples:
        assert one.counted.requests["Produce"] > 0 and one.counted.appended_records > 0
        assert not one.threads[0].lost
        names = {frame.name for frame in one.frames}
        assert "Connection.on_readable" in names and "run_worker" in names
    read = Read(broker, written)
    with Load(read.step):
        samples = until_seen(nodes, {"look-up", "sendfile"})
        while read.passes < 2:
            time.sleep(0.05)
    assert all(one.counted.requests["Fetch"] > 0 for one in samples)
    assert "error" not in broker.log().lower()


def test_the_command_shows_tables_and_draws(broker: ServedBroker, tmp_path: Path) -> None:
    create(broker, "shown")
    flame, output = tmp_path / "flame.svg", tmp_path / "stages.json"
    with Load(Written(broker, "shown").step):
        status, out, err = tidelog(
            *("profile", "stages", "--bootstrap", broker.bootstrap_servers, "--seconds", "1"),
            *("--flame", str(flame), "--output", str(output)),
        )
    assert status == 0, err
    for text in ("WHERE THE TIME OF NODE 2 GOES", "answer", "libc: send", "Produce append"):
        assert text in out, out
    drawn = ElementTree.parse(flame).getroot()
    titles = " ".join(title.text or "" for title in drawn.iter("{http://www.w3.org/2000/svg}title"))
    assert "node 2, loop" in titles and "(python)" in titles and "(native)" in titles
    assert "libc: send (kernel call)" in titles
    report = Report.from_json(json.loads(output.read_text()))
    assert [section.name for section in report.sections] == ["stages of node 1", "stages of node 2"]


def test_one_node_and_json(broker: ServedBroker) -> None:
    arguments = ("profile", "stages", "--bootstrap", broker.bootstrap_servers, "--seconds", "0.2")
    status, out, err = tidelog(*arguments, "--node", "2", "--json")
    assert status == 0, err
    assert [section["name"] for section in json.loads(out)["sections"]] == ["stages of node 2"]
    status, _, err = tidelog(*arguments, "--node", "9")
    assert status == 1 and "no node 9" in err


def test_a_second_run_is_refused_and_the_first_goes_on(nodes: Nodes) -> None:
    both = threading.Barrier(2)

    def sample(_: int) -> str:
        both.wait()
        try:
            return f"node {sample_node(nodes.cluster_id, 1, Order(1500, 100)).node_id}"
        except ProfileError as error:
            return str(error)

    with ThreadPoolExecutor(2) as executor:
        assert sorted(executor.map(sample, range(2))) == [
            "node 1",
            "node 1 refuses: another run is under way on this node",
        ]


def test_what_is_not_there_is_said(broker: ServedBroker, nodes: Nodes) -> None:
    with pytest.raises(ProfileError, match="node 7 gives no samples here"):
        sample_node(nodes.cluster_id, 7, Order(10, 100))
    with pytest.raises(ProfileError, match="refuses: a run takes up to 60 s"):
        sample_node(nodes.cluster_id, 1, Order(61_000, 100))
    with pytest.raises(ProfileError):
        nodes_of("127.0.0.1:1")


def test_a_worker_that_dies_meanwhile_is_told_and_its_next_life_can_be_asked(
    broker: ServedBroker, nodes: Nodes
) -> None:
    pid = sample_node(nodes.cluster_id, 2, Order(10, 100)).pid
    timer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(ProfileError, match="node 2 ended the connection"):
        sample_node(nodes.cluster_id, 2, Order(60_000, 100))
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            assert sample_node(nodes.cluster_id, 2, Order(10, 100)).pid != pid
            break
        except ProfileError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
