"""`BrokerConfig`: the broker configs that Tidelog acts on, resolved and typed.

Pure, owned by no process: made from text layers, immutable; a dynamic change makes another one.
Attribute names are the config names with underscores.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from tidelog.config.broker_configs import BROKER_CONFIGS
from tidelog.config.definition import ConfigValueError, parse_value, split_list
from tidelog.config.layers import BrokerLayers
from tidelog.config.validators import is_number

#: The classes of `replica.selector.class` that are there: Kafka's own two.
RACK_AWARE_SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
LEADER_SELECTOR = "org.apache.kafka.common.replica.LeaderSelector"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Typed broker configs. Times in ms and sizes in bytes where the name says so."""

    # Node and listeners
    node_id: int | None
    broker_rack: str | None
    listeners: tuple[str, ...]
    advertised_listeners: tuple[str, ...] | None
    listener_security_protocol_map: str
    log_dir: tuple[str, ...]
    log_dirs: tuple[str, ...] | None
    # Connections and requests
    socket_request_max_bytes: int
    socket_send_buffer_bytes: int
    socket_receive_buffer_bytes: int
    socket_listen_backlog_size: int
    connections_max_idle_ms: int
    max_connections: int
    max_connections_per_ip: int
    max_connections_per_ip_overrides: str
    max_connection_creation_rate: int
    queued_max_requests: int
    queued_max_request_bytes: int
    request_timeout_ms: int
    # Quotas
    quota_window_num: int
    quota_window_size_seconds: int
    controller_quota_window_num: int
    controller_quota_window_size_seconds: int
    replication_quota_window_num: int
    replication_quota_window_size_seconds: int
    alter_log_dirs_replication_quota_window_num: int
    alter_log_dirs_replication_quota_window_size_seconds: int
    replica_alter_log_dirs_io_max_bytes_per_second: int
    leader_replication_throttled_rate: int
    follower_replication_throttled_rate: int
    # The process of a node
    broker_heartbeat_interval_ms: int
    broker_session_timeout_ms: int
    # Topics and logs
    auto_create_topics_enable: bool
    delete_topic_enable: bool
    num_partitions: int
    default_replication_factor: int
    min_insync_replicas: int
    unclean_leader_election_enable: bool
    unclean_leader_election_interval_ms: int
    auto_leader_rebalance_enable: bool
    leader_imbalance_check_interval_seconds: int
    num_recovery_threads_per_data_dir: int
    log_retention_check_interval_ms: int
    log_flush_scheduler_interval_ms: int
    log_flush_offset_checkpoint_interval_ms: int
    log_flush_start_offset_checkpoint_interval_ms: int
    replica_high_watermark_checkpoint_interval_ms: int
    replica_lag_time_max_ms: int
    replica_selector_class: str | None
    log_cleaner_backoff_ms: int
    log_cleaner_dedupe_buffer_size: int
    log_cleaner_enable: bool
    log_cleaner_io_buffer_load_factor: float
    log_cleaner_io_buffer_size: int
    log_cleaner_io_max_bytes_per_second: float
    log_cleaner_threads: int
    # Followers
    num_replica_fetchers: int
    replica_fetch_backoff_ms: int
    replica_fetch_max_bytes: int
    replica_fetch_min_bytes: int
    replica_fetch_response_max_bytes: int
    replica_fetch_wait_max_ms: int
    replica_socket_receive_buffer_bytes: int
    replica_socket_timeout_ms: int
    # Fetch
    fetch_max_bytes: int
    max_incremental_fetch_session_cache_slots: int
    max_request_partition_size_limit: int
    # Producers and transactions
    producer_id_expiration_ms: int
    producer_id_expiration_check_interval_ms: int
    transaction_max_timeout_ms: int
    transactional_id_expiration_ms: int
    transaction_state_log_num_partitions: int
    transaction_state_log_replication_factor: int
    transaction_state_log_min_isr: int
    transaction_state_log_segment_bytes: int
    transaction_state_log_load_buffer_size: int
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int
    transaction_remove_expired_transaction_cleanup_interval_ms: int
    # Groups
    group_initial_rebalance_delay_ms: int
    group_min_session_timeout_ms: int
    group_max_session_timeout_ms: int
    group_max_size: int
    group_coordinator_rebalance_protocols: tuple[str, ...]
    group_consumer_assignment_interval_ms: int
    group_consumer_assignors: tuple[str, ...]
    group_consumer_heartbeat_interval_ms: int
    group_consumer_max_size: int
    group_consumer_migration_policy: str
    group_consumer_regex_refresh_interval_ms: int
    group_consumer_session_timeout_ms: int
    offset_metadata_max_bytes: int
    offsets_commit_timeout_ms: int
    offsets_load_buffer_size: int
    offsets_retention_minutes: int
    offsets_retention_check_interval_ms: int
    offsets_topic_num_partitions: int
    offsets_topic_replication_factor: int
    offsets_topic_segment_bytes: int
    offsets_topic_compression_codec: int
    # Tidelog's own
    tidelog_connection_max_inflight_requests: int
    tidelog_connection_max_queued_bytes: int
    tidelog_connection_max_unsent_bytes: int
    tidelog_process_max_queued_bytes: int
    tidelog_open_segments_max: int
    tidelog_sendfile_slice_bytes: int
    tidelog_helper_threads: int

    @property
    def data_dirs(self) -> tuple[str, ...]:
        """The log directories: log.dirs, or log.dir when that is not set."""
        return self.log_dir if self.log_dirs is None else self.log_dirs

    @property
    def is_rack_aware(self) -> bool:
        """Whether consumers are sent to replicas in their own rack (KIP-392)."""
        return self.replica_selector_class == RACK_AWARE_SELECTOR

    @property
    def connections_per_ip_overrides(self) -> dict[str, int]:
        """Other connection limits, by address."""
        return parse_ip_overrides(self.max_connections_per_ip_overrides)

    @classmethod
    def resolve(cls, layers: BrokerLayers | None = None) -> BrokerConfig:
        """The values that hold with these layers. Raises ConfigValueError for a bad text."""
        below = layers or BrokerLayers()
        values = {
            attribute: parse_value(BROKER_CONFIGS[name], below.value(name))
            for attribute, name in _NAMES.items()
        }
        return cls(**values)  # type: ignore[arg-type]


def parse_ip_overrides(text: str) -> dict[str, int]:
    """`max.connections.per.ip.overrides` by address. Raises ConfigValueError."""
    overrides: dict[str, int] = {}
    for pair in split_list(text):
        address, colon, limit = pair.rpartition(":")
        if not colon or not address or not is_number(limit):
            raise ConfigValueError(
                "max.connections.per.ip.overrides", text, f"{pair} is not address:limit"
            )
        overrides[address.strip()] = int(limit)
    return overrides


_NAMES: dict[str, str] = {f.name: f.name.replace("_", ".") for f in fields(BrokerConfig)}
assert set(_NAMES.values()) <= set(BROKER_CONFIGS)
