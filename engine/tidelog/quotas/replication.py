"""The replication quotas of a node (KIP-73): what followers copy from it, what it copies as a
follower, and what it copies between its log directories (KIP-113), each at so many bytes a second.

Pure but for the clock, owned by the worker's loop task. Only throttled partitions are charged, and
nobody is told to wait: who asks learns whether the rate is beyond the quota at the moment.
"""

from __future__ import annotations

from typing import Final

from tidelog.clock import Clock
from tidelog.config import BrokerConfig
from tidelog.quotas.rates import SimpleRate

#: A rate of `leader.` and `follower.replication.throttled.rate`: none.
NO_LIMIT: Final = 2**63 - 1


class ReplicationQuota:
    """One of the three. `limit`: bytes a second."""

    def __init__(self, samples: int, window_ms: int, clock: Clock) -> None:
        self._rate = SimpleRate(samples, window_ms)
        self._clock = clock
        self.limit = NO_LIMIT
        #: Charged since the node began.
        self.total_bytes = 0

    def record(self, size: int) -> None:
        """So many bytes of a throttled partition were copied."""
        self.total_bytes += size
        self._rate.record(size, self._clock.monotonic_ms())

    def is_exceeded(self) -> bool:
        """Whether the rate is more than the quota."""
        if self.limit == NO_LIMIT:
            return False
        return self._rate.per_second(self._clock.monotonic_ms()) > self.limit

    def wait_ms(self) -> int:
        """How long nothing may be copied until the rate is down to the quota; 0: it is."""
        if self.limit == NO_LIMIT:
            return 0
        return self._rate.throttle_ms(self.limit, self._clock.monotonic_ms())


class ReplicationQuotas:
    """All of a node."""

    def __init__(self, config: BrokerConfig, clock: Clock) -> None:
        samples = config.replication_quota_window_num
        window_ms = config.replication_quota_window_size_seconds * 1000
        self.leader = ReplicationQuota(samples, window_ms, clock)
        self.follower = ReplicationQuota(samples, window_ms, clock)
        samples = config.alter_log_dirs_replication_quota_window_num
        window_ms = config.alter_log_dirs_replication_quota_window_size_seconds * 1000
        self.log_dirs = ReplicationQuota(samples, window_ms, clock)
        self.follow(config)

    def follow(self, config: BrokerConfig) -> None:
        """The rates that hold from now on. What was measured stays."""
        self.leader.limit = config.leader_replication_throttled_rate
        self.follower.limit = config.follower_replication_throttled_rate
        self.log_dirs.limit = config.replica_alter_log_dirs_io_max_bytes_per_second
