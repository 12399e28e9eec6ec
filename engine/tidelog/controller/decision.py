"""What every part of the controller machine works with: settings, config rules, the decision. Pure
values.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from tidelog.controller.requests import ControllerAnswer
from tidelog.metadata.records import ChangeRecord


class Random(Protocol):
    """Randomness as an argument; `random.Random` and `random.SystemRandom` are one."""

    def getrandbits(self, k: int, /) -> int: ...


class UncleanElection(msgspec.Struct, frozen=True):
    """A replica that was not in sync leads now: what it lacks of the acknowledged records is
    lost.
    """

    topic: str
    partition: int
    leader: int


class Decision(msgspec.Struct, frozen=True):
    """What an event leads to: records to commit as one transaction (none: nothing changes), and
    the answer. unclean_elections: those among the records, which the log has to tell about.
    """

    records: list[ChangeRecord]
    answer: ControllerAnswer
    unclean_elections: tuple[UncleanElection, ...] = ()


class Refusal(Exception):
    """Ends the decision about one item with an error code and a sentence for the user."""

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = int(error_code)
        self.message = message
