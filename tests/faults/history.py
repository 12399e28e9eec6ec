"""What clients did, as JSON lines: one operation each, written by the client that did it. Values.

Times are of the monotonic clock, in ms; it is the same for all processes of a machine.
"""

from __future__ import annotations

from typing import Literal

import msgspec

#: ok: it took effect. fail: it certainly did not, and never will. info: nobody knows.
Result = Literal["ok", "fail", "info"]


class Send(msgspec.Struct, frozen=True, tag="send"):
    """One record. number: its place among what its producer (one life of it) was given to send;
    acks "1": it may be lost. transaction: in which it was sent, "" for none. offset: -1 when the
    client was not told.
    """

    producer: str
    number: int
    begin_ms: int
    end_ms: int
    topic: str
    partition: int
    value: str
    result: Result
    offset: int = -1
    acks: Literal["all", "1"] = "all"
    transaction: str = ""
    error: str = ""


class Transaction(msgspec.Struct, frozen=True, tag="transaction"):
    """How a transaction ended: ok is committed, fail is aborted."""

    transaction: str
    begin_ms: int
    end_ms: int
    result: Result
    error: str = ""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One that was read."""

    topic: str
    partition: int
    offset: int
    value: str


class Poll(msgspec.Struct, frozen=True, tag="poll"):
    """What one poll returned, in that order. group: "" when partitions were assigned by hand."""

    reader: str
    begin_ms: int
    end_ms: int
    records: tuple[Record, ...]
    committed_only: bool
    group: str = ""


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """From now on the reader reads these partitions; position: from where, -1 if it is not said."""

    reader: str
    positions: tuple[tuple[str, int, int], ...]


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """A client told its user of an error. fatal: it could not go on and was made anew."""

    client: str
    at_ms: int
    error: str
    fatal: bool = False


Operation = Send | Transaction | Poll | Moved | Trouble

encoder = msgspec.json.Encoder()
decoder = msgspec.json.Decoder(Operation)
