"""The broker's configs that transaction coordinators act on, as one value. Pure.

Made anew by the transaction service when the broker's configs change; shards ask for it with every
operation.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransactionConfig:
    """transaction.* and transactional.* as the broker has them; times in ms."""

    max_timeout_ms: int
    abort_interval_ms: int
    id_expiration_ms: int
    expire_interval_ms: int
