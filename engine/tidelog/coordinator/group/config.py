"""The broker's configs that group coordinators act on, as one value. Pure.

Made anew by the group service when the broker's configs change; shards ask for it with every
operation, so a change holds from the next request on.
"""

from __future__ import annotations

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
