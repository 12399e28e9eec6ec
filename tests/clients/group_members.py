"""Consumers in processes of their own that share groups: starts them, reads and checks what they
tell.

Owned by the tests of groups and by tests/recovery/groups.py. Members tell their lives as
group_member.py says. What has to hold:

- every record is read at least once by each group;
- no partition has two owners in one generation, and none at one time, unless one of them was told
  that it lost it, or was killed;
- a group's committed offset is never behind one that a member was told is committed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import admin as confluent

TIMEOUT_S = 40.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kind:
    """A client with its protocol and assignors; `command` begins its member program."""

    client: str
    command: tuple[str, ...]
    assignor: str
    protocol: str = "classic"

    def __str__(self) -> str:
        return f"{self.client}/{self.protocol}/{self.assignor or 'default'}"


def python_kind(client: str, assignor: str, protocol: str = "classic") -> Kind:
    """One of the Python clients."""
    command = (sys.executable, "-m", "tests.clients.group_member", "--client", client)
    return Kind(client, command, assignor, protocol)


class Member:
    """A running member. `events`: what it told so far, in order."""

    def __init__(
        self, kind: Kind, bootstrap: str, topic: str, group: str, instance: str = ""
    ) -> None:
        self.kind, self.group, self.instance = kind, group, instance
        self.events: list[dict[str, Any]] = []
        self.killed_ms: int | None = None
        words = ["--bootstrap", bootstrap, "--topic", topic, "--group", group]
        words += ["--protocol", kind.protocol, "--assignor", kind.assignor]
        if instance:
            words += ["--instance", instance]
        self._process = subprocess.Popen(
            [*kind.command, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        self._errors = b""
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                self.events.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = (self._errors + line)[-4000:]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def owned(self) -> set[int]:
        """The partitions that it has now."""
        if not self.is_running:
            return set()
        for event in reversed(self.events):
            if event["e"] in ("assigned", "revoked", "lost"):
                return set(event["p"])
        return set()

    def values(self) -> set[int]:
        """Everything that it read."""
        return {value for e in list(self.events) if e["e"] == "read" for value in e["v"]}

    def leave(self) -> None:
        """Close it, as a program does that ends well."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"stop\n")
            self._process.stdin.close()
            self._process.wait(TIMEOUT_S)
        except (BrokenPipeError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{self.kind} did not leave: {self.errors()}") from error
        finally:
            self.end()
        assert self.events[-1]["e"] == "closed", self.errors()

    def kill(self) -> None:
        """SIGKILL."""
        self.end()
        self.killed_ms = time.time_ns() // 1_000_000

    def end(self) -> None:
        """Make sure that the process is no more."""
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def errors(self) -> str:
        """The end of what it wrote to standard error."""
        return self._errors.decode(errors="replace")


@dataclass
class Groups:
    """Members of several groups of one topic, and what was produced for them."""

    bootstrap: str
    topic: str
    partitions: int
    members: list[Member] = field(default_factory=list)
    produced: int = 0

    def create(self) -> None:
        client = confluent.AdminClient({"bootstrap.servers": self.bootstrap})
        new = confluent.NewTopic(self.topic, self.partitions, 1)
        (future,) = client.create_topics([new]).values()
        future.result(TIMEOUT_S)

    def join(self, kind: Kind, group: str, instance: str = "") -> Member:
        member = Member(kind, self.bootstrap, self.topic, group, instance)
        self.members.append(member)
        return member

    def produce(self, count: int) -> None:
        """So many records more, over all partitions; acknowledged when it returns."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap})
        failures: list[object] = []
        for n in range(self.produced, self.produced + count):
            producer.produce(
                self.topic,
                b"%d" % n,
                partition=n % self.partitions,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
        assert producer.flush(TIMEOUT_S) == 0
        assert not failures, failures
        self.produced += count

    def running(self, group: str) -> list[Member]:
        return [each for each in self.members if each.group == group and each.is_running]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {TIMEOUT_S:.0f} s: {what}\n{self.story()}")
            time.sleep(0.02)

    def settled(self, group: str) -> bool:
        """Everybody in the group has a part, and together they have everything."""
        owned = [each.owned for each in self.running(group)]
        has_part = all(owned) or len(owned) > self.partitions
        return has_part and sorted(p for each in owned for p in each) == list(
            range(self.partitions)
        )

    def all_read(self, group: str) -> bool:
        """The group has read everything that was produced."""
        read = set().union(*(m.values() for m in self.members if m.group == group))
        return read >= set(range(self.produced))

    def story(self) -> str:
        """The last events and errors of everybody."""
        return "\n".join(
            f"{m.group} {m.kind} running={m.is_running} "
            f"{[e for e in m.events if e['e'] != 'read'][-4:]} {m.errors()[-600:]}"
            for m in self.members
        )

    def end(self) -> None:
        for member in self.members:
            member.end()

    # -- what has to hold -----------------------------------------------------------------------

    def check(self, group: str) -> None:
        """See the module's docstring."""
        assert self.all_read(group), self.story()
        members = [each for each in self.members if each.group == group]
        check_generations(members)
        check_times(members)
        self.check_commits(group, members)

    def check_commits(self, group: str, members: Sequence[Member]) -> None:
        told: dict[int, int] = {}
        for member in members:
            for event in member.events:
                if event["e"] == "committed":
                    told[event["p"]] = max(told.get(event["p"], -1), event["o"])
        client = confluent.AdminClient({"bootstrap.servers": self.bootstrap})
        asked = [confluent_kafka.ConsumerGroupTopicPartitions(group)]
        (future,) = client.list_consumer_group_offsets(asked).values()
        kept = {each.partition: each.offset for each in future.result(TIMEOUT_S).topic_partitions}
        lost = {p: (o, kept.get(p)) for p, o in told.items() if kept.get(p, -1) < o}
        assert told, f"{group}: nobody committed"
        assert not lost, f"{group}: committed, kept: {lost}"


def check_generations(members: Sequence[Member]) -> None:
    """In one generation a partition has one owner."""
    owners: dict[tuple[int, int], Member] = {}
    for member in members:
        for event in member.events:
            if event["e"] != "assigned" or event["g"] is None:
                continue
            for partition in event["p"]:
                owner = owners.setdefault((event["g"], partition), member)
                # A static member that restarted is the same one.
                same = owner is member or (member.instance and owner.instance == member.instance)
                assert same, (
                    f"generation {event['g']}: partition {partition} of {owner.kind} "
                    f"and {member.kind}"
                )


def check_times(members: Sequence[Member]) -> None:
    """At one time a partition has one owner, among those that know what they have."""
    held: dict[int, list[tuple[int, int, Member]]] = {}
    for member in members:
        for partition, begin, end in intervals(member):
            held.setdefault(partition, []).append((begin, end, member))
    for partition, all_of_it in held.items():
        last_end, last = 0, None
        for begin, end, member in sorted(all_of_it, key=lambda each: each[:2]):
            if last is not None and last is not member:
                assert begin >= last_end, (
                    f"partition {partition}: {last.kind} until {last_end}, {member.kind} "
                    f"from {begin}"
                )
            if end >= last_end:
                last_end, last = end, member


def intervals(member: Member) -> list[tuple[int, int, int]]:
    """(partition, begin, end) in ms of what it had; what was taken from it is left out."""
    begun: dict[int, int] = {}
    found = []
    for event in member.events:
        if event["e"] not in ("assigned", "revoked", "lost", "closed"):
            continue
        left = set(event.get("p", ()))
        for partition in begun.keys() - left:
            begin = begun.pop(partition)
            if event["e"] != "lost":
                found.append((partition, begin, event["t"]))
        if event["e"] == "assigned":
            for partition in left - begun.keys():
                begun[partition] = event["t"]
    last_ms = member.killed_ms or time.time_ns() // 1_000_000
    return found + [(partition, begin, last_ms) for partition, begin in begun.items()]
