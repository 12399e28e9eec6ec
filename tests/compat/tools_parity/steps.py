"""The steps of a scenario. Plain data: nothing here talks to a broker.

Texts may hold `{dir}` (a folder of this run), `{bootstrap}` and `{host}`, `{port}` of the broker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """One invocation of a tool, as typed in a shell: `kafka-topics --list`.

    `--bootstrap-server` is appended unless the line holds `{bootstrap}` or `{dir}/alone`.

    stdin: what is typed into the tool. save: a file below `{dir}` for its standard output.
    masks: names of `masks.MASKS` beyond those that are always put on.
    until: pattern that the output has to hold; the tool is run again until it does (for what a
    broker does in its own time). differs: patterns of text that may differ, each with the reason;
    what they match is taken out on both sides (`^.*x.*$` for whole lines) and has to differ.
    shows: pattern that the reference's output holds, so that the step does what it is there for.
    streams: which of "out" and "err" are compared.
    """

    line: str
    stdin: str = ""
    save: str = ""
    masks: tuple[str, ...] = ()
    until: str = ""
    shows: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)
    streams: tuple[str, ...] = ("out", "err")


@dataclass(frozen=True)
class Write:
    """A file below `{dir}`."""

    name: str
    text: str


@dataclass(frozen=True)
class Produce:
    """Records with chosen partition; `times_ms`: one time for each of them, or none."""

    topic: str
    partition: int
    values: tuple[str, ...]
    times_ms: tuple[int, ...] = ()


@dataclass(frozen=True)
class Join:
    """A live member of a group, until `Leave` or the scenario's end; waits for `records` of them.

    What it has read is committed. settings: further settings of librdkafka.
    """

    name: str
    group: str
    topics: tuple[str, ...]
    records: int = 0
    partitions: int = 1
    protocol: str = "classic"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Leave:
    """The member closes its consumer."""

    name: str


@dataclass(frozen=True)
class Commit:
    """Offsets of a group without members, with a metadata string: partition -> (offset, text)."""

    group: str
    topic: str
    offsets: Mapping[int, tuple[int, str]]


@dataclass(frozen=True)
class Begin:
    """A transaction with records in it, open until `End`; its producer is known by its id."""

    transactional_id: str
    topic: str
    partition: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """The transaction's end."""

    transactional_id: str
    commit: bool


#: Ends the groups that scenarios before left behind.
NO_GROUPS = Run("kafka-consumer-groups --delete --all-groups", streams=())

Step = Run | Write | Produce | Join | Leave | Commit | Begin | End


@dataclass(frozen=True)
class Scenario:
    """one_node: not run on several nodes, since what is shown names nodes, or to save time."""

    steps: tuple[Step, ...]
    one_node: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, *steps: Step, one_node: bool = False) -> None:
    """Registers a scenario."""
    assert name not in SCENARIOS, name
    assert re.fullmatch(r"[a-z0-9-]+", name), name
    SCENARIOS[name] = Scenario(steps, one_node)
