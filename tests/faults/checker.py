"""Reads a history and finds what must not be in it. Pure.

The anomalies are named as in Jepsen's workload for Kafka:

- lost-write: acknowledged (acks=all), below what was read of its partition, and read by nobody
- unseen: acknowledged, above what was read, although everybody has read to the end
- duplicate: a value at two offsets
- inconsistent-offset: an offset with two values
- aborted-read: read_committed shows what certainly failed, or was aborted
- torn-transaction: read_committed shows a part of a transaction
- nonmonotonic-poll: a reader goes back; poll-skip: it leaves out what is there
- nonmonotonic-send: a record comes before one that its producer sent earlier, or that was
  acknowledged before it was sent
- group-skip: a group is behind a record that none of its members was given

What a transaction wrote is acknowledged when the transaction is committed. Values are unique.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tests.faults.history import Moved, Operation, Poll, Result, Send, Transaction

Partition = tuple[str, int]


class Anomaly(NamedTuple):
    """kind: one of the names above."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class History:
    """A history, sorted by what the checks ask for. Operations of each client are in its order."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = list(operations)
        self.sends = [one for one in self.operations if isinstance(one, Send)]
        self.ends: dict[str, Result] = {
            one.transaction: one.result for one in self.operations if isinstance(one, Transaction)
        }
        #: By partition and offset, the values that were read: by anybody, and committed ones.
        self.read: dict[Partition, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.committed: dict[Partition, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for poll in self.operations:
            if isinstance(poll, Poll):
                for topic, partition, offset, value in _records(poll):
                    self.read[topic, partition][offset].add(value)
                    if poll.committed_only:
                        self.committed[topic, partition][offset].add(value)

    def result(self, send: Send) -> Result:
        """Of the record, all in all: in a transaction both have to be ok."""
        if not send.transaction:
            return send.result
        end = self.ends.get(send.transaction, "info")
        return "info" if end == "ok" and send.result != "ok" else end


def check(operations: Iterable[Operation]) -> list[Anomaly]:
    """All anomalies of a history at whose end readers have read every partition to its end."""
    history = History(operations)
    return [
        *inconsistent_offsets(history),
        *duplicates(history),
        *lost_writes(history),
        *aborted_reads(history),
        *torn_transactions(history),
        *polls(history),
        *sends(history),
        *group_skips(history),
    ]


def inconsistent_offsets(history: History) -> Iterable[Anomaly]:
    values: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for (topic, partition), offsets in history.read.items():
        for offset, read in offsets.items():
            values[topic, partition, offset] |= read
    for send in history.sends:
        if send.result == "ok" and send.acks == "all" and send.offset >= 0:
            values[send.topic, send.partition, send.offset].add(send.value)
    for (topic, partition, offset), found in sorted(values.items()):
        if len(found) > 1:
            yield Anomaly("inconsistent-offset", f"{topic}-{partition}@{offset}: {sorted(found)}")


def duplicates(history: History) -> Iterable[Anomaly]:
    """A transaction that is tried again writes its values again: of those, committed ones count."""
    without = {(send.topic, send.value) for send in history.sends if send.acks != "all"}
    again = {(send.topic, send.value) for send in history.sends if send.transaction}
    places: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for seen, of_transactions in ((history.read, False), (history.committed, True)):
        for (topic, partition), offsets in seen.items():
            for offset, values in offsets.items():
                for value in values:
                    if ((topic, value) in again) is of_transactions:
                        places[topic, value].add((partition, offset))
    for send in history.sends:
        if history.result(send) == "ok" and send.offset >= 0:
            places[send.topic, send.value].add((send.partition, send.offset))
    for (topic, value), found in sorted(places.items()):
        if len(found) > 1 and (topic, value) not in without:
            yield Anomaly("duplicate", f"{topic} {value!r} at {sorted(found)}")


def lost_writes(history: History) -> Iterable[Anomaly]:
    for send in history.sends:
        if send.acks != "all" or history.result(send) != "ok":
            continue
        seen = history.committed if send.transaction else history.read
        offsets = seen.get((send.topic, send.partition), {})
        if send.value in offsets.get(send.offset, ()):
            continue
        if any(send.value in values for values in offsets.values()):
            continue  # elsewhere: a duplicate, or another value is at its offset
        kind = "lost-write" if offsets and send.offset <= max(offsets) else "unseen"
        yield Anomaly(
            kind,
            f"{send.topic}-{send.partition}@{send.offset} {send.value!r} of {send.producer},"
            f" acknowledged at {send.end_ms}; highest read {max(offsets, default=-1)}",
        )


def aborted_reads(history: History) -> Iterable[Anomaly]:
    """A value that was sent once more is told from the failed one by its offset."""
    failed: dict[tuple[str, str], list[Send]] = defaultdict(list)
    others = set()
    for send in history.sends:
        if history.result(send) == "fail":
            failed[send.topic, send.value].append(send)
        else:
            others.add((send.topic, send.value))
    for (topic, partition), offsets in sorted(history.committed.items()):
        for offset, values in sorted(offsets.items()):
            for value in values:
                for send in failed.get((topic, value), ()):
                    is_it = (send.partition, send.offset) == (partition, offset)
                    if is_it or (topic, value) not in others:
                        of = send.transaction or send.error
                        yield Anomaly(
                            "aborted-read", f"{topic}-{partition}@{offset} {value!r} ({of})"
                        )


def torn_transactions(history: History) -> Iterable[Anomaly]:
    parts: dict[str, list[Send]] = defaultdict(list)
    for send in history.sends:
        # What nobody has acknowledged may not have got there at all.
        if send.transaction and send.result == "ok" and send.offset >= 0:
            parts[send.transaction].append(send)
    for transaction, members in sorted(parts.items()):
        missing = [
            one.value
            for one in members
            if one.offset not in history.committed.get((one.topic, one.partition), {})
        ]
        if missing and len(missing) < len(members):
            yield Anomaly(
                "torn-transaction",
                f"{transaction} ({history.ends.get(transaction, 'info')}):"
                f" {len(missing)} of {len(members)} are not there: {missing[:5]}",
            )


def missing_copies(
    operations: Iterable[Operation], source: str, target: str, prefix: str
) -> list[Anomaly]:
    """lost-copy: what was read of a topic, and no committed record of the other is its copy."""
    history = History(operations)
    copies = {
        value
        for (topic, _), offsets in history.committed.items()
        if topic == target
        for values in offsets.values()
        for value in values
    }
    return [
        Anomaly("lost-copy", f"{topic}-{partition}@{offset} {value!r}")
        for (topic, partition), offsets in sorted(history.read.items())
        if topic == source
        for offset, values in sorted(offsets.items())
        for value in sorted(values)
        if prefix + value not in copies
    ]


def polls(history: History) -> Iterable[Anomaly]:
    """nonmonotonic-poll and poll-skip, within and between the polls of each reader."""
    known = {
        committed_only: {partition: sorted(offsets) for partition, offsets in seen.items()}
        for committed_only, seen in ((False, history.read), (True, history.committed))
    }
    #: By reader and partition: the offset before the one that comes next.
    before: dict[tuple[str, str, int], int] = {}
    for one in history.operations:
        if isinstance(one, Moved):
            for key in [key for key in before if key[0] == one.reader]:
                del before[key]
            for topic, partition, position in one.positions:
                if position >= 0:
                    before[one.reader, topic, partition] = position - 1
        elif isinstance(one, Poll):
            for topic, partition, offset, value in _records(one):
                last = before.get((one.reader, topic, partition))
                before[one.reader, topic, partition] = offset
                if last is None:
                    continue
                where = f"{one.reader} at {topic}-{partition}@{offset} {value!r} after {last}"
                if offset <= last:
                    yield Anomaly("nonmonotonic-poll", where)
                    continue
                there = known[one.committed_only][topic, partition]
                missed = there[bisect_right(there, last) : bisect_left(there, offset)]
                if missed:
                    yield Anomaly("poll-skip", f"{where}: not {missed[:5]} ({len(missed)})")


def sends(history: History) -> Iterable[Anomaly]:
    """nonmonotonic-send, of one producer and of all."""
    acknowledged = [
        one for one in history.sends if one.result == "ok" and one.acks == "all" and one.offset >= 0
    ]
    of_producer: dict[tuple[str, str, int], list[Send]] = defaultdict(list)
    of_partition: dict[Partition, list[Send]] = defaultdict(list)
    for send in acknowledged:
        of_producer[send.producer, send.topic, send.partition].append(send)
        of_partition[send.topic, send.partition].append(send)
    for (producer, topic, partition), members in sorted(of_producer.items()):
        members.sort(key=lambda one: one.number)
        for earlier, later in itertools.pairwise(members):
            if later.offset <= earlier.offset:
                yield Anomaly(
                    "nonmonotonic-send",
                    f"{producer} {topic}-{partition}: {later.value!r}@{later.offset}"
                    f" after {earlier.value!r}@{earlier.offset}",
                )
    for (topic, partition), members in sorted(of_partition.items()):
        ended = sorted(members, key=lambda one: one.end_ms)
        highest: Send | None = None
        at = 0
        for send in sorted(members, key=lambda one: one.begin_ms):
            while at < len(ended) and ended[at].end_ms < send.begin_ms:
                if highest is None or ended[at].offset > highest.offset:
                    highest = ended[at]
                at += 1
            if highest is not None and send.offset <= highest.offset:
                yield Anomaly(
                    "nonmonotonic-send",
                    f"{topic}-{partition}: {send.value!r}@{send.offset} was sent when"
                    f" {highest.value!r}@{highest.offset} was acknowledged",
                )


def group_skips(history: History) -> Iterable[Anomaly]:
    seen: dict[tuple[str, bool, str, int], set[int]] = defaultdict(set)
    for one in history.operations:
        if isinstance(one, Poll) and one.group:
            for topic, partition, offset, _ in _records(one):
                seen[one.group, one.committed_only, topic, partition].add(offset)
    for (group, committed_only, topic, partition), offsets in sorted(seen.items()):
        there = history.committed if committed_only else history.read
        highest = max(offsets)
        missed = sorted(
            offset
            for offset in there[topic, partition]
            if offset <= highest and offset not in offsets
        )
        if missed:
            yield Anomaly(
                "group-skip", f"{group} {topic}-{partition}: not {missed[:5]} ({len(missed)})"
            )


def _records(poll: Poll) -> Iterable[tuple[str, int, int, str]]:
    for record in poll.records:
        yield record.topic, record.partition, record.offset, record.value
