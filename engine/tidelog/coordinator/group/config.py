"""The broker's configs that group coordinators act on, as one value. Pure.

Made anew by the group service when the broker's configs change; shards ask for it with every
operation, so a change holds from the next request on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """group.* and offsets.* as the broker has them; times in ms, sizes in bytes."""

    min_session_timeout_ms: int
    max_session_timeout_ms: int
    max_size: int
    initial_rebalance_delay_ms: int
    offset_metadata_max_bytes: int
    offsets_retention_ms: int
    offsets_retention_check_interval_ms: int
    consumer_session_timeout_ms: int
    consumer_heartbeat_interval_ms: int
    consumer_assignment_interval_ms: int
    consumer_max_size: int
    consumer_assignors: tuple[str, ...]
    #: Whether a classic group may become a consumer group while it runs.
    allows_upgrade: bool
    #: Whether a consumer group may become a classic group while it runs.
    allows_downgrade: bool
    #: After this time patterns are matched with the topics again, whatever has changed.
    regex_refresh_interval_ms: int
    #: Group protocols that are served.
    protocols: frozenset[str]


@dataclass(frozen=True, slots=True)
class ConsumerTimes:
    """What holds for one consumer group: its own configs before the broker's; ms."""

    session_timeout_ms: int
    heartbeat_interval_ms: int
    assignment_interval_ms: int

    @classmethod
    def of(cls, config: GroupConfig, own: Mapping[str, str]) -> ConsumerTimes:
        """own: the configs that are set for the group itself, checked when they were set."""
        return cls(
            int(own.get("consumer.session.timeout.ms", config.consumer_session_timeout_ms)),
            int(own.get("consumer.heartbeat.interval.ms", config.consumer_heartbeat_interval_ms)),
            int(own.get("consumer.assignment.interval.ms", config.consumer_assignment_interval_ms)),
        )
