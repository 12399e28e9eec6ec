"""The broker configs that a log directory works with.

A contract: BrokerConfig fits it.
"""

from __future__ import annotations

from typing import Protocol

from tidelog.storage.cleaner import CleanerConfig


class ManagerConfig(CleanerConfig, Protocol):
    """The broker configs that matter here."""

    @property
    def num_recovery_threads_per_data_dir(self) -> int: ...
    @property
    def log_retention_check_interval_ms(self) -> int: ...
    @property
    def log_flush_offset_checkpoint_interval_ms(self) -> int: ...
    @property
    def log_flush_start_offset_checkpoint_interval_ms(self) -> int: ...
    @property
    def replica_high_watermark_checkpoint_interval_ms(self) -> int: ...
    @property
    def producer_id_expiration_ms(self) -> int: ...
    @property
    def producer_id_expiration_check_interval_ms(self) -> int: ...
