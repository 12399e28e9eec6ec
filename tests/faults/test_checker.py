"""Each anomaly is found in a history that has it, and in no history that only looks like it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from tests.faults.checker import check, missing_copies
from tests.faults.history import (
    Moved,
    Operation,
    Poll,
    Record,
    Send,
    Transaction,
    Trouble,
    decoder,
    encoder,
)

_numbers = itertools.count()


def send(value: str, offset: int = -1, **changes: Any) -> Send:
    """An acknowledged record of topic t, partition 0; each is sent after the one made before."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "producer": "p",
        "number": number,
        "begin_ms": 10 * number,
        "end_ms": 10 * number + 5,
        "topic": "t",
        "partition": 0,
        "value": value,
        "result": "ok",
        "offset": offset,
    }
    return Send(**{**fields, **changes})


def poll(*records: tuple[int, str], reader: str = "r", **changes: Any) -> Poll:
    """Records of topic t, partition 0."""
    fields: dict[str, Any] = {"committed_only": False, **changes}
    return Poll(reader, 0, 0, tuple(Record("t", 0, at, value) for at, value in records), **fields)


def ended(transaction: str, result: Any) -> Transaction:
    return Transaction(transaction, 0, 0, result)


def kinds(operations: Iterable[Operation]) -> set[str]:
    return {anomaly.kind for anomaly in check(operations)}


def committed(*records: tuple[int, str], **changes: Any) -> Poll:
    return poll(*records, committed_only=True, **changes)


BAD: dict[str, tuple[str, list[Operation]]] = {
    "a record is gone": (
        "lost-write",
        [send("a", 0), send("b", 1), send("c", 2), poll((0, "a"), (2, "c"))],
    ),
    "a committed record is gone": (
        "lost-write",
        [send("a", 0, transaction="1"), send("b", 1), ended("1", "ok"), committed((1, "b"))],
    ),
    "an acknowledged record never comes": ("unseen", [send("a", 0), send("b", 1), poll((0, "a"))]),
    "nothing comes": ("unseen", [send("a", 0)]),
    "a committed record is seen by read_uncommitted only": (
        "unseen",
        [send("a", 0, transaction="1"), ended("1", "ok"), poll((0, "a"))],
    ),
    "a record is twice in a partition": (
        "duplicate",
        [send("a", 0), poll((0, "a"), (1, "a"))],
    ),
    "a record is elsewhere than acknowledged": (
        "duplicate",
        [send("z", 0), send("a", 1), poll((0, "z"), (2, "a"))],
    ),
    "an indefinite record is twice": (
        "duplicate",
        [send("a", result="info"), poll((0, "a"), (1, "a"))],
    ),
    "two readers see two values": (
        "inconsistent-offset",
        [poll((0, "a")), poll((0, "b"), reader="s")],
    ),
    "a reader sees another value than was acknowledged": (
        "inconsistent-offset",
        [send("a", 0), poll((0, "b"))],
    ),
    "two records are acknowledged at one offset": (
        "inconsistent-offset",
        [send("a", 0), send("b", 0), poll((0, "b"))],
    ),
    "an aborted record is read": (
        "aborted-read",
        [send("a", 0, transaction="1"), ended("1", "fail"), committed((0, "a"))],
    ),
    "a record is read where it was aborted, though it was sent once more": (
        "aborted-read",
        [
            send("a", 0, transaction="1"),
            ended("1", "fail"),
            send("a", 2, transaction="2"),
            ended("2", "ok"),
            committed((0, "a")),
        ],
    ),
    "a committed record is twice": (
        "duplicate",
        [
            send("a", 0, transaction="1"),
            ended("1", "info"),
            send("a", 2, transaction="2"),
            ended("2", "ok"),
            committed((0, "a"), (2, "a")),
        ],
    ),
    "a failed record is read": (
        "aborted-read",
        [send("a", result="fail"), committed((0, "a"))],
    ),
    "an indefinite transaction is half there": (
        "torn-transaction",
        [
            send("a", 0, transaction="1"),
            send("b", 1, transaction="1"),
            ended("1", "info"),
            committed((1, "b")),
        ],
    ),
    "a transaction without an end is half there": (
        "torn-transaction",
        [send("a", 0, transaction="1"), send("b", 1, transaction="1"), committed((0, "a"))],
    ),
    "a poll goes back": ("nonmonotonic-poll", [poll((1, "b"), (0, "a"))]),
    "a later poll goes back": ("nonmonotonic-poll", [poll((1, "b")), poll((1, "b"))]),
    "a poll begins before its position": (
        "nonmonotonic-poll",
        [Moved("r", (("t", 0, 5),)), poll((4, "e"))],
    ),
    "a poll leaves out a record": (
        "poll-skip",
        [poll((0, "a"), (2, "c")), poll((1, "b"), reader="s")],
    ),
    "a later poll leaves out a record": (
        "poll-skip",
        [poll((0, "a")), poll((2, "c")), poll((1, "b"), reader="s")],
    ),
    "the first poll leaves out a record": (
        "poll-skip",
        [Moved("r", (("t", 0, 0),)), poll((1, "b")), poll((0, "a"), reader="s")],
    ),
    "a producer's later record comes first": (
        "nonmonotonic-send",
        [
            send("a", 1, begin_ms=0, end_ms=10),
            send("b", 0, begin_ms=0, end_ms=10),
            poll((0, "b"), (1, "a")),
        ],
    ),
    "a record comes before one that was acknowledged": (
        "nonmonotonic-send",
        [send("a", 1), send("b", 0, producer="q"), poll((0, "b"), (1, "a"))],
    ),
    "no member of a group gets a record": (
        "group-skip",
        [
            poll((0, "a"), reader="m1", group="g"),
            poll((2, "c"), reader="m2", group="g"),
            poll((0, "a"), (1, "b"), (2, "c")),
        ],
    ),
}

GOOD: dict[str, list[Operation]] = {
    "nothing happened": [],
    "all is there": [send("a", 0), send("b", 1), poll((0, "a")), poll((1, "b"))],
    "acks=1 is lost, and another is in its place": [
        send("a", 0, acks="1"),
        send("b", 0),
        poll((0, "b")),
    ],
    "without idempotence a record is twice": [
        send("a", 0, acks="1"),
        poll((0, "a"), (1, "a")),
    ],
    "indefinite records are there or not": [
        send("a", result="info"),
        send("b", result="info"),
        poll((0, "b")),
    ],
    "a failed record is not there": [send("a", result="fail"), send("b", 0), poll((0, "b"))],
    "a client was not told the offset": [send("a", -1), poll((0, "a"))],
    "one value in two topics": [
        send("a", 0),
        send("a", 0, topic="u"),
        poll((0, "a")),
        Poll("r", 0, 0, (Record("u", 0, 0, "a"),), False),
    ],
    "aborted records are seen by read_uncommitted": [
        send("a", 0, transaction="1"),
        ended("1", "fail"),
        poll((0, "a")),
    ],
    "offsets of markers and aborted records are left out": [
        send("a", 0, transaction="1"),
        ended("1", "fail"),
        send("b", 2),
        committed((2, "b")),
        poll((0, "a"), (2, "b"), reader="s"),
    ],
    "an indefinite transaction is there as a whole": [
        send("a", 0, transaction="1"),
        send("b", 1, transaction="1"),
        ended("1", "info"),
        committed((0, "a"), (1, "b")),
    ],
    "an aborted transaction is done once more": [
        send("a", 0, transaction="1"),
        ended("1", "fail"),
        send("a", 2, transaction="2"),
        ended("2", "ok"),
        committed((2, "a")),
        poll((0, "a"), (2, "a"), reader="s"),
    ],
    "an indefinite transaction is not there": [
        send("a", 0, transaction="1"),
        send("b", 1, transaction="1"),
        ended("1", "info"),
        send("c", 3),
        committed((3, "c")),
    ],
    "an indefinite record in an indefinite transaction is not there": [
        send("a", 0, transaction="1"),
        send("b", transaction="1", result="info"),
        ended("1", "info"),
        committed((0, "a")),
    ],
    "a reader is moved back": [
        send("a", 0),
        send("b", 1),
        poll((0, "a"), (1, "b")),
        Moved("r", (("t", 0, -1),)),
        poll((0, "a"), (1, "b")),
    ],
    "concurrent records come in any order": [
        send("a", 1, begin_ms=0, end_ms=10),
        send("b", 0, begin_ms=10, end_ms=20, producer="q"),
        poll((0, "b"), (1, "a")),
    ],
    "each record of a group has a member, and the last is not reached": [
        poll((0, "a"), reader="m1", group="g"),
        Moved("m1", ()),
        poll((1, "b"), reader="m2", group="g"),
        poll((0, "a"), (1, "b"), (2, "c")),
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_an_anomaly_is_found(name: str) -> None:
    kind, operations = BAD[name]
    assert kind in kinds(operations)


@pytest.mark.parametrize("name", GOOD)
def test_what_may_be_is_no_anomaly(name: str) -> None:
    assert check(GOOD[name]) == []


def test_a_missing_copy_is_found() -> None:
    there = [poll((0, "a"), (1, "b")), Poll("r", 0, 0, (Record("u", 0, 0, "c:a"),), True)]
    assert [str(one) for one in missing_copies(there, "t", "u", "c:")] == ["lost-copy: t-0@1 'b'"]
    there.append(Poll("r", 0, 0, (Record("u", 1, 7, "c:b"),), True))
    assert missing_copies(there, "t", "u", "c:") == []


def test_only_what_is_wrong_is_named() -> None:
    """Nothing but lost-write for a lost record, with what is needed to look for it."""
    kind, operations = BAD["a record is gone"]
    (anomaly,) = check(operations)
    assert str(anomaly).startswith(f"{kind}: t-0@1 'b' of p, acknowledged at ")


def test_a_history_is_lines() -> None:
    """Every operation is read as it was written."""
    operations = [
        send("a", 3, transaction="1", error="e"),
        ended("1", "info"),
        poll((3, "a"), group="g"),
        Moved("r", (("t", 0, 7),)),
        Trouble("r", 5, "gone", fatal=True),
    ]
    lines = [encoder.encode(one) for one in operations]
    assert not any(b"\n" in line for line in lines)
    assert [decoder.decode(line) for line in lines] == operations
