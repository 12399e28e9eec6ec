"""Every client with every assignor in groups, through everything that happens to members and
coordinators: python -m tests.recovery.groups [--rounds N] [--clients java,franz-go,...]

Each round starts a broker with two workers and lets all groups live once
(tests/clients/group_lives.py says what, group_members.py what has to hold). What cannot be
installed here is left out, by name.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tests.clients.group_lives import BROKER_ARGUMENTS, CoordinatorKiller, Plan, live
from tests.clients.group_members import Groups, Kind, python_kind
from tests.clients.test_restarts import kill_worker
from tests.compat.group_kinds import go_kind, java_kind, node_kind
from tests.compat.programs import ProgramMissing
from tests.compat.reference import ReferenceMissing
from tests.house.broker import ServedBroker

PARTITIONS = 7
CONFLUENT, PYTHON, AIO, JAVA, GO, NODE = (
    "confluent-kafka", "kafka-python", "aiokafka", "java", "franz-go", "kafkajs",
)  # fmt: skip
#: The assignors of each client; those of the consumer protocol stand apart.
CLASSIC = {
    CONFLUENT: ("range", "roundrobin", "cooperative-sticky"),
    PYTHON: ("range", "roundrobin", "sticky", "cooperative-sticky"),
    AIO: ("range", "roundrobin", "sticky"),
    JAVA: ("range", "roundrobin", "sticky", "cooperative-sticky"),
    GO: ("range", "roundrobin", "sticky", "cooperative-sticky"),
    NODE: ("",),
}
CONSUMER = {CONFLUENT: ("uniform", "range"), JAVA: ("uniform", "range")}
#: Groups that live at the same time: each has up to three processes.
AT_ONCE = 6


def kind(client: str, assignor: str, protocol: str = "classic") -> Kind:
    """Raises ProgramMissing or ReferenceMissing."""
    match client:
        case "java":
            return java_kind(assignor, protocol)
        case "franz-go":
            return go_kind(assignor)
        case "kafkajs":
            return node_kind()
        case _:
            return python_kind(client, assignor, protocol)


def plans(clients: Sequence[str]) -> Iterator[tuple[str, list[Kind]]]:
    """(group, its three kinds of members): each client alone, then mixed."""
    for client in clients:
        for assignor in CLASSIC[client]:
            yield f"{client}-{assignor or 'default'}", [kind(client, assignor)] * 3
        for assignor in CONSUMER.get(client, ()):
            yield f"{client}-consumer-{assignor}", [kind(client, assignor, "consumer")] * 3
    for assignor in ("range", "roundrobin", "sticky", "cooperative-sticky"):
        able = [client for client in clients if assignor in CLASSIC[client]]
        for first in range(0, len(able), 2):
            chosen = [able[(first + n) % len(able)] for n in range(3)]
            if len(set(chosen)) > 1:
                name = f"mixed-{assignor}-{first}"
                yield name, [kind(client, assignor) for client in chosen]
    both = [client for client in clients if client in CONSUMER]
    if both:
        new = kind(both[0], "", "consumer")
        for assignor in ("range", "cooperative-sticky"):
            able = [client for client in clients if assignor in CLASSIC[client]]
            old = [kind(client, assignor) for client in (*able[-2:], *able[:1])[:2]]
            yield f"both-protocols-{assignor}", [old[0], new, old[1]]


def installed(clients: Sequence[str], tell: Callable[[str], object]) -> list[str]:
    """The clients that there are."""
    found = []
    for client in clients:
        try:
            kind(client, CLASSIC[client][0])
        except (ProgramMissing, ReferenceMissing) as missing:
            tell(f"left out: {client}: {missing}")
        else:
            found.append(client)
    return found


def run_plan(plan: Plan, tell: Callable[[str], object]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ServedBroker(Path(folder) / "data", BROKER_ARGUMENTS) as broker,
    ):
        groups = Groups(broker.bootstrap_servers, "t", PARTITIONS)
        groups.create()
        try:
            live(groups, plan, CoordinatorKiller(broker, kill_worker))
        finally:
            groups.end()
        read = sum(len(member.values()) for member in groups.members)
        tell(f"records={groups.produced} reads={read} processes={len(groups.members)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clients", default=",".join(CLASSIC))
    parser.add_argument("--only", default="", help="groups with this in their name")
    o = parser.parse_args()

    def tell(text: str) -> None:
        print(text, flush=True)

    clients = installed(o.clients.split(","), tell)
    failures = 0
    for number in range(o.rounds):
        left = iter([each for each in plans(clients) if o.only in each[0]])
        while plan := dict(islice(left, AT_ONCE)):
            began = time.monotonic()
            tell(f"round {number + 1}: {', '.join(plan)}")
            try:
                run_plan(plan, tell)
            except AssertionError as error:
                failures += 1
                tell(f"FAILED: {error}")
            tell(f"{time.monotonic() - began:.0f} s")
    tell(f"failures={failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
