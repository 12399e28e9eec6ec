"""Who gets what: python -m bench.load.assignments [--partitions 6,7] [--members 4] [--clients ...]

Members of real clients join a group of Tidelog one by one, and after each the partitions of every
member are noted: with the assignors of the broker (KIP-848: uniform, range), and with range and
round robin as each client library computes them for its classic group. Prints a table in Markdown,
with clients that agree in one row. Clients that cannot be installed here are left out, by name.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from tests.clients.group_lives import BROKER_ARGUMENTS
from tests.clients.group_members import Groups, Kind
from tests.house.broker import ServedBroker
from tests.recovery.groups import CLASSIC, installed, kind

CLIENTS = ("confluent-kafka", "java", "franz-go", "kafka-python", "aiokafka")
#: Groups that grow at the same time.
AT_ONCE = 4


def columns(clients: Sequence[str]) -> list[tuple[str, str, Kind]]:
    """(assignor, who computes, kind of its members)."""
    found = []
    for assignor in ("range", "roundrobin"):
        found += [(assignor, c, kind(c, assignor)) for c in clients if assignor in CLASSIC[c]]
    for assignor in ("range", "uniform"):
        found.append((assignor, "the broker", kind("confluent-kafka", assignor, "consumer")))
    return found


def shares(groups: Groups, group: str) -> list[list[int]]:
    """The partitions of every member, by the first of them."""
    return sorted(sorted(each.owned) for each in groups.running(group))


def short(partitions: Sequence[int]) -> str:
    """0-2 for a run of more than two, otherwise one by one."""
    if len(partitions) > 2 and partitions == list(range(partitions[0], partitions[-1] + 1)):
        return f"{partitions[0]}-{partitions[-1]}"
    return ",".join(map(str, partitions))


def grow(
    bootstrap: str, plan: Sequence[tuple[str, str, Kind]], partitions: int, members: int
) -> list[list[list[list[int]]]]:
    """For each kind, after each join, the shares."""
    found: list[list[list[list[int]]]] = []
    for first in range(0, len(plan), AT_ONCE):
        batch = plan[first : first + AT_ONCE]
        groups = Groups(bootstrap, f"t{partitions}-{first}", partitions)
        groups.create()
        try:
            taken: list[list[list[list[int]]]] = [[] for _ in batch]
            for _ in range(members):
                for n, (_, _, chosen) in enumerate(batch):
                    groups.join(chosen, f"g{partitions}-{first}-{n}")
                for n in range(len(batch)):
                    group = f"g{partitions}-{first}-{n}"
                    groups.wait(partial(groups.settled, group), f"{group} settles")
                    taken[n].append(shares(groups, group))
            found += taken
        finally:
            groups.end()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partitions", default="6,7")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    o = parser.parse_args()
    clients = installed(o.clients.split(","), lambda text: print(text, file=sys.stderr))
    plan = columns(clients)
    heads = " | ".join(f"{n} members" for n in range(2, o.members + 1))
    print(f"| assignor | computed by | partitions | {heads} |")
    print("|---|---|---|" + "---|" * (o.members - 1))
    with (
        tempfile.TemporaryDirectory() as folder,
        ServedBroker(Path(folder) / "data", BROKER_ARGUMENTS) as broker,
    ):
        rows = []
        for partitions in map(int, o.partitions.split(",")):
            grown = grow(broker.bootstrap_servers, plan, partitions, o.members)
            for (assignor, who, _), steps in zip(plan, grown, strict=True):
                cells = tuple(" / ".join(map(short, step)) for step in steps[1:])
                rows.append((assignor, who == "the broker", partitions, cells, who))
    rows.sort(key=lambda row: (row[1], row[0], row[2], row[3]))
    for (assignor, _, partitions, cells), same in groupby(rows, key=lambda row: row[:4]):
        who = ", ".join(row[4] for row in same)
        print(f"| {assignor} | {who} | {partitions} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
