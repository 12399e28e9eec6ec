"""What every part of the controller machine works with: settings, config rules, the decision. Pure
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from tidelog.controller.requests import ControllerAnswer
from tidelog.metadata.records import ChangeRecord


class Random(Protocol):
    """Randomness as an argument; `random.Random` and `random.SystemRandom` are one."""

    def getrandbits(self, k: int, /) -> int: ...


class ControllerSettings(msgspec.Struct, frozen=True):
    """Broker configs that the controller decides by, under Kafka's names."""

    num_partitions: int = 1
    default_replication_factor: int = 1
    delete_topic_enable: bool = True
    offsets_topic_num_partitions: int = 50
    offsets_topic_replication_factor: int = 3
    offsets_topic_segment_bytes: int = 104_857_600
    transaction_state_log_num_partitions: int = 50
    transaction_state_log_replication_factor: int = 3
    transaction_state_log_min_isr: int = 2
    transaction_state_log_segment_bytes: int = 104_857_600


class ConfigRules(Protocol):
    """What the machine has to know about configs; the tables are in `config/`."""

    def is_list(self, resource_type: int, key: str) -> bool:
        """Whether the config's type is LIST, so that APPEND and SUBTRACT are possible."""
        ...

    def default(self, resource_type: int, key: str) -> str | None:
        """The value that holds when the resource itself has none."""
        ...

    def check(
        self, resource_type: int, resource_name: str, values: Mapping[str, str], changed: set[str]
    ) -> ConfigProblem | None:
        """Whether the resource may have these configs; `changed` are the keys that get a value
        now.
        """
        ...


class ConfigProblem(msgspec.Struct, frozen=True):
    """Why configs are refused, with Kafka's code."""

    error_code: int
    message: str


class Decision(msgspec.Struct, frozen=True):
    """What an event leads to: records to commit as one transaction (none: nothing changes), and
    the answer.
    """

    records: list[ChangeRecord]
    answer: ControllerAnswer


class Refusal(Exception):
    """Ends the decision about one item with an error code and a sentence for the user."""

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = int(error_code)
        self.message = message
