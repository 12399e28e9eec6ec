"""Runs a scenario against one broker and keeps what its tools printed, masked."""

from __future__ import annotations

import re
import shlex
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import confluent_kafka

from tests.compat.conftest import Target
from tests.compat.tools import ToolResult, ToolServer
from tests.compat.tools_parity.masks import masked
from tests.compat.tools_parity.steps import (
    Begin,
    Commit,
    End,
    Join,
    Leave,
    Produce,
    Run,
    Step,
    Write,
)

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Shown:
    """What one invocation showed."""

    run: Run
    lines: list[str]


@dataclass
class Member:
    """A consumer that is polled by a thread of its own until it is told to leave."""

    join: Join
    consumer: confluent_kafka.Consumer
    ready: threading.Event = field(default_factory=threading.Event)
    leaving: threading.Event = field(default_factory=threading.Event)
    failure: str = ""
    member_id: str = ""
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.consumer.subscribe(list(self.join.topics))
        self.thread = threading.Thread(target=self._poll, name=self.join.name, daemon=True)
        self.thread.start()
        if not self.ready.wait(TIMEOUT_S):
            raise AssertionError(f"{self.join.name} did not get what it waits for: {self.failure}")

    def leave(self) -> None:
        self.leaving.set()
        if self.thread is not None:
            self.thread.join(TIMEOUT_S)
            assert not self.thread.is_alive(), f"{self.join.name} does not leave"

    def _poll(self) -> None:
        left = self.join.records
        try:
            while not self.leaving.is_set():
                message = self.consumer.poll(0.05)
                if message is not None and message.error() is not None:
                    self.failure = str(message.error())
                elif message is not None:
                    self.consumer.commit(message=message, asynchronous=False)
                    left -= 1
                if self.ready.is_set():
                    continue
                if left <= 0 and len(self.consumer.assignment()) == self.join.partitions:
                    self.member_id = self.consumer.memberid()
                    self.ready.set()
        except confluent_kafka.KafkaException as error:
            self.failure = str(error)
        finally:
            self.consumer.close()


class Player:
    """One run of one scenario; `folder` is its own."""

    def __init__(self, tools: ToolServer, target: Target, folder: Path) -> None:
        self.tools = tools
        self.target = target
        self.folder = folder
        self._members: dict[str, Member] = {}
        self._producers: dict[str, confluent_kafka.Producer] = {}
        #: Ids that members had, with their names.
        self._member_ids: dict[str, str] = {}
        self._names = {
            "dir": str(folder),
            "bootstrap": target.bootstrap,
            "host": target.host,
            "port": str(target.port),
        }

    def play(self, steps: tuple[Step, ...]) -> list[Shown]:
        """What every invocation of a tool showed, in order."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shown = []
        try:
            for step in steps:
                match step:
                    case Run():
                        shown.append(self._run(step))
                    case Write():
                        (self.folder / step.name).write_text(self._filled(step.text))
                    case Produce():
                        self._produce(step)
                    case Join():
                        self._join(step)
                    case Leave():
                        self._members.pop(step.name).leave()
                    case Commit():
                        self._commit(step)
                    case Begin():
                        self._begin(step)
                    case End():
                        self._end(step)
        finally:
            for member in self._members.values():
                member.leave()
        return shown

    def _filled(self, text: str) -> str:
        for name, value in self._names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _run(self, run: Run) -> Shown:
        tool, *words = (self._filled(word) for word in shlex.split(run.line))
        if "{bootstrap}" not in run.line:
            words += ["--bootstrap-server", self.target.bootstrap]
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            result = self.tools.run(tool, *words, stdin=run.stdin.encode())
            if not run.until or re.search(run.until, result.out):
                break
            assert time.monotonic() < deadline, f"{run.line}: {run.until!r} not in\n{result.out}"
            time.sleep(0.1)
        if run.save:
            (self.folder / run.save).write_text(result.out)
        return Shown(run, self._lines(run, result))

    def _lines(self, run: Run, result: ToolResult) -> list[str]:
        places = {
            str(self.folder): "DIR",
            str(self.target.data_dir): "DATA",
            **self._member_ids,
        }
        lines = [f"exit {result.code}"]
        if "out" in run.streams:
            lines += masked(result.out, places, run.masks)
        if "err" in run.streams:
            lines += [f"err: {line}" for line in masked(result.err, places, ())]
        return lines

    def _produce(self, step: Produce) -> None:
        producer = confluent_kafka.Producer({"bootstrap.servers": self.target.bootstrap})
        failures: list[object] = []

        def delivered(error: object, _message: object) -> None:
            if error is not None:
                failures.append(error)

        for number, value in enumerate(step.values):
            producer.produce(
                step.topic,
                value.encode(),
                partition=step.partition,
                on_delivery=delivered,
                # 0 stands for now.
                timestamp=step.times_ms[number] if step.times_ms else 0,
            )
            if step.times_ms:
                # A batch of its own for each, so that every time can be looked up.
                producer.flush(TIMEOUT_S)
        assert producer.flush(TIMEOUT_S) == 0
        assert not failures, failures

    def _join(self, step: Join) -> None:
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.target.bootstrap,
                "group.id": step.group,
                "client.id": step.name,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "group.protocol": step.protocol,
                **step.settings,
            }
        )
        member = Member(step, consumer)
        self._members[step.name] = member
        member.start()
        self._member_ids[member.member_id] = f"MEMBER {step.name}"

    def _commit(self, step: Commit) -> None:
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.target.bootstrap, "group.id": step.group}
        )
        try:
            offsets = [
                confluent_kafka.TopicPartition(step.topic, partition, offset, metadata)
                for partition, (offset, metadata) in step.offsets.items()
            ]
            consumer.commit(offsets=offsets, asynchronous=False)
        finally:
            consumer.close()

    def _begin(self, step: Begin) -> None:
        producer = self._producers.get(step.transactional_id)
        if producer is None:
            producer = confluent_kafka.Producer(
                {
                    "bootstrap.servers": self.target.bootstrap,
                    "transactional.id": step.transactional_id,
                    "client.id": "transactional",
                }
            )
            producer.init_transactions(TIMEOUT_S)
            self._producers[step.transactional_id] = producer
        producer.begin_transaction()
        for value in step.values:
            producer.produce(step.topic, value.encode(), partition=step.partition)
        assert producer.flush(TIMEOUT_S) == 0

    def _end(self, step: End) -> None:
        producer = self._producers[step.transactional_id]
        if step.commit:
            producer.commit_transaction(TIMEOUT_S)
        else:
            producer.abort_transaction(TIMEOUT_S)
