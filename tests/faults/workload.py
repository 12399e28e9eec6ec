"""The clients of a run: started in their namespace, stopped, and what they have written.

Owner: the process that owns the cluster. Topics: `log` (plain records, acks=all and idempotent),
`copied` (its transactional copy), `ledger` (transactions), `loose` (acks=1).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.faults.cluster import CLIENTS, Cluster, wait_for
from tests.faults.history import Operation, decoder

PARTITIONS: Final = 6
TOPICS: Final = ("log", "copied", "ledger", "loose")
TRANSACTIONAL: Final = ("copied", "ledger")
#: Group and topic by the role of its members.
GROUPS: Final = {"copy": ("copiers", "log"), "belong": ("members", "log")}
_ROOT: Final = Path(__file__).resolve().parents[2]
_CALL_TIMEOUT_S: Final = 30.0
#: Longer than any call of a client may take.
_END_TIMEOUT_S: Final = 200.0

#: Role, name, arguments.
CLIENT_PLAN: Final = (
    ("write", "writer-1", "topics=log rate=100"),
    ("aiokafka-write", "writer-2", "topics=log rate=60"),
    ("write", "writer-3", "topics=loose rate=20 acks=1"),
    ("transact", "ledger-1", "topics=ledger"),
    ("copy", "copier-1", "topics=log,copied group=copiers"),
    ("copy", "copier-2", "topics=log,copied group=copiers"),
    ("read", "reader-1", "topics=log,ledger,loose"),
    ("aiokafka-read", "reader-2", "topics=copied,ledger committed=1"),
    ("aiokafka-read", "reader-3", "topics=log"),
    ("belong", "member-1", "topics=log group=members"),
    ("aiokafka-belong", "member-2", "topics=log group=members"),
)
#: For measures of how long nothing is acknowledged, and of whether clients see errors.
STEADY_PLAN: Final = (
    ("write", "writer-1", "topics=log rate=200 timeout_ms=1000 refresh_ms=500"),
    ("aiokafka-write", "writer-2", "topics=log rate=60"),
    ("read", "reader-1", "topics=log"),
    ("belong", "member-1", "topics=log group=members"),
    ("aiokafka-belong", "member-2", "topics=log group=members"),
)
WRITERS: Final = ("write", "aiokafka-write", "transact")


class Client:
    """One client's process."""

    def __init__(self, cluster: Cluster, role: str, name: str, arguments: str) -> None:
        self.role = role
        self.name = name
        self.history = cluster.folder / "history" / f"{name}.jsonl"
        self.history.parent.mkdir(exist_ok=True)
        self._output = self.history.with_suffix(".out")
        python = [sys.executable, "-m", "tests.faults.client", role, name, cluster.bootstrap]
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *cluster.network.command(CLIENTS),
                    *python,
                    str(self.history),
                    *arguments.split(),
                    f"partitions={PARTITIONS}",
                ],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    def stop(self) -> None:
        """Asks it to stop; it finishes what it has begun."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> str:
        """Until it has ended; returns what was wrong with that, "" for nothing."""
        try:
            status = self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            threads = _threads(self.process.pid)
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            return f"{self.name} did not end: {threads}\n{self.output()[-2000:]}"
        return f"{self.name} ended with {status}: {self.output()[-2000:]}" if status else ""

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def operations(self) -> list[Operation]:
        """What it did; a line that a kill has cut is left out."""
        if not self.history.exists():
            return []
        whole = self.history.read_bytes().rpartition(b"\n")[0]
        return [decoder.decode(line) for line in whole.splitlines()]


class Workload:
    """See the module."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.clients: list[Client] = []
        self.problems: list[str] = []
        self._admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})

    def create_topics(self) -> None:
        """Also the internal ones, so that a run begins with a whole cluster."""
        config = {"min.insync.replicas": "2"}
        topics = [NewTopic(name, PARTITIONS, 3, config=config) for name in TOPICS]
        for created in self._admin.create_topics(topics).values():
            created.result(_CALL_TIMEOUT_S)

    def start(self, plan: Sequence[tuple[str, str, str]] = CLIENT_PLAN) -> None:
        self.clients = [Client(self._cluster, *row) for row in plan]

    def acknowledged(self) -> int:
        """Operations that the writers have written down so far."""
        return sum(
            client.history.read_bytes().count(b'"result":"ok"')
            for client in self.clients
            if client.role in WRITERS and client.history.exists()
        )

    def go_on(self, more: int = 400) -> None:
        """Until so many more records are acknowledged."""
        count = self.acknowledged() + more
        wait_for(lambda: self.acknowledged() >= count, "records are acknowledged")

    def finish(self) -> None:
        """Stops the writers, waits until everybody has read what there is, stops the others, and
        reads everything once more.
        """
        writers = [client for client in self.clients if client.role in WRITERS]
        self._end(writers)
        self._settle()
        self._end([client for client in self.clients if client not in writers])
        topics = ",".join(TOPICS)
        last = [
            Client(self._cluster, "read", "last-1", f"topics={topics} end=1"),
            Client(self._cluster, "read", "last-2", f"topics={topics} end=1 committed=1"),
        ]
        self.clients += last
        for client in last:
            self._note(client.wait())

    def operations(self) -> list[Operation]:
        return [one for client in self.clients for one in client.operations()]

    def close(self) -> None:
        for client in self.clients:
            if client.process.poll() is None:
                client.process.kill()
                client.process.wait()

    def _end(self, clients: list[Client]) -> None:
        for client in clients:
            client.stop()
        for client in clients:
            self._note(client.wait())

    def _note(self, problem: str) -> None:
        if problem:
            self.problems.append(problem)

    def _settle(self) -> None:
        """Liveness: no transaction stays open, no group stays behind."""
        for what, holds in (
            ("transactions are ended", lambda: not self._open()),
            ("groups have read everything", lambda: not self._behind()),
        ):
            try:
                wait_for(holds, what, 90)
            except TimeoutError as error:
                self._note(f"{error}; {self._open()} {self._behind()}")

    def _groups(self) -> list[tuple[str, str]]:
        roles = {client.role for client in self.clients}
        return [group for role, group in GROUPS.items() if role in roles]

    def _ends(self, topics: Sequence[str], isolation: IsolationLevel) -> dict[tuple[str, int], int]:
        asked = {
            TopicPartition(topic, partition): OffsetSpec.latest()
            for topic in topics
            for partition in range(PARTITIONS)
        }
        answers = self._admin.list_offsets(
            asked, isolation_level=isolation, request_timeout=_CALL_TIMEOUT_S
        )
        return {
            (place.topic, place.partition): answer.result(_CALL_TIMEOUT_S).offset
            for place, answer in answers.items()
        }

    def _open(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Partitions whose last stable offset is not their high watermark, and both."""
        stable = self._ends(TRANSACTIONAL, IsolationLevel.READ_COMMITTED)
        ends = self._ends(TRANSACTIONAL, IsolationLevel.READ_UNCOMMITTED)
        return {
            place: (stable[place], ends[place]) for place in ends if stable[place] != ends[place]
        }

    def _behind(self) -> dict[tuple[str, str, int], tuple[int, int]]:
        """Partitions of which a group has not committed the end, and both offsets."""
        found = {}
        for group, topic in self._groups():
            ends = self._ends([topic], IsolationLevel.READ_UNCOMMITTED)
            asked = ConsumerGroupTopicPartitions(group)
            (answer,) = self._admin.list_consumer_group_offsets([asked]).values()
            committed = {
                (one.topic, one.partition): one.offset
                for one in answer.result(_CALL_TIMEOUT_S).topic_partitions
            }
            for place, offset in ends.items():
                if offset and committed.get(place, 0) != offset:
                    found[(group, *place)] = (committed.get(place, 0), offset)
        return found


def _threads(pid: int) -> list[str]:
    """What each thread of a process waits for."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found.append(f"{(task / 'comm').read_text().strip()}: {(task / 'wchan').read_text()}")
        except OSError:
            continue
    return sorted(found)
