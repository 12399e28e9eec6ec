"""Every metric that there is: name, type, labels, help. docs/metrics.md shows the same table.

Pure. Names: where an exporter for Apache Kafka has the metric, its name (JMX exporter:
kafka_server_..., kafka_network_..., kafka_log_...; kafka_exporter: kafka_topic_...,
kafka_consumergroup_...), so that existing rules and dashboards find it; else tidelog_..., with the
unit at the end.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric. Its labels are in the order of its samples'; `node` is the id of the node that
    told it.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


def _table(kind: Kind, rows: dict[str, tuple[str, str]]) -> list[Metric]:
    return [
        Metric(name, kind, tuple(labels.split()), text) for name, (labels, text) in rows.items()
    ]


_NODES: Final = _table(
    "gauge",
    {
        "tidelog_node_up": ("node", "1 when the node answered this scrape in time, else 0"),
        "tidelog_node_serving": ("node", "1 when the node accepts connections"),
        "tidelog_node_metadata_version": ("node", "Metadata version that the node has applied"),
        "tidelog_node_logs_opening": ("node", "Logs that are still being opened or recovered"),
        "tidelog_node_logs_offline": ("node", "Logs that failed and are not served"),
        "tidelog_node_damaged_segments": (
            "node",
            "Segments that are known to be damaged: reading what is damaged is an error",
        ),
        "tidelog_metadata_version": ("", "Metadata version of the controller"),
        "kafka_brokers": ("", "Nodes that are not fenced"),
        "kafka_topic_partitions": ("topic", "Partitions of the topic"),
        "kafka_controller_kafkacontroller_globaltopiccount": ("", "Topics of the cluster"),
        "kafka_controller_kafkacontroller_globalpartitioncount": ("", "Partitions of the cluster"),
        "kafka_controller_kafkacontroller_offlinepartitionscount": (
            "",
            "Partitions without a leader",
        ),
        "tidelog_metrics_dropped_series": (
            "node kind",
            "Series of this kind that are left out, because there are too many",
        ),
        "tidelog_build_info": ("version", "1, with the version of the broker"),
    },
) + _table(
    "counter",
    {"tidelog_node_deaths_total": ("node", "How often the node's process ended unasked")},
)

#: Of each worker and of the supervisor (node="supervisor"), also of one that hangs.
PROCESSES: Final = _table(
    "gauge",
    {
        "process_resident_memory_bytes": ("node", "Resident memory of the process"),
        "process_virtual_memory_bytes": ("node", "Virtual memory of the process"),
        "process_open_fds": ("node", "Open file descriptors"),
        "process_max_fds": ("node", "How many file descriptors may be open"),
        "process_start_time_seconds": ("node", "Start of the process, in seconds since 1970"),
    },
) + _table(
    "counter",
    {"process_cpu_seconds_total": ("node", "CPU time of the process, user and system")},
)

_REQUESTS: Final = _table(
    "counter",
    {
        "kafka_network_requestmetrics_requests_total": (
            "node request version",
            "Requests by API and version",
        ),
        "kafka_network_requestmetrics_errors_total": (
            "node request error",
            "Error codes in answers, also those of single topics, partitions and groups",
        ),
        "tidelog_received_bytes_total": ("node", "Bytes received from clients"),
        "tidelog_sent_bytes_total": ("node", "Bytes sent to clients"),
        "tidelog_connections_accepted_total": ("node", "Connections accepted"),
        "tidelog_connections_refused_total": ("node", "Connections refused at once by a limit"),
        "tidelog_cold_reads_total": ("node", "Ranges read ahead because they were not in memory"),
        "tidelog_segments_opened_total": ("node", "Files of full segments opened to be read"),
        "tidelog_compactions_total": ("node result", "Compactions of logs, by how they ended"),
        "tidelog_compaction_read_bytes_total": ("node", "Bytes read to compact logs"),
        "tidelog_compaction_removed_bytes_total": ("node", "Bytes that compaction took away"),
        "tidelog_compaction_seconds_total": ("node", "Time for which a log was being compacted"),
        "tidelog_throttled_replication_bytes_total": (
            "node side",
            "Bytes of throttled replicas, copied from this node (leader) and to it (follower)",
        ),
    },
) + _table(
    "gauge",
    {
        "tidelog_connections": ("node", "Open connections"),
        "tidelog_queued_bytes": ("node", "Memory of requests not handled and answers not sent"),
        "tidelog_unsent_bytes": ("node", "What of it are answers that peers have not taken"),
        "tidelog_starving": ("node", "1 while connections wait for memory of others"),
        "tidelog_fetch_sessions": ("node", "Fetch sessions that are remembered"),
        "tidelog_open_segments": ("node", "Full segments whose files are open"),
        "tidelog_compaction_dirtiest_ratio": (
            "node",
            "Largest share of a log that is not compacted, when the cleaner last looked",
        ),
        "tidelog_uncleanable_logs": ("node", "Logs that something damaged keeps from compaction"),
        "tidelog_offline_log_directories": ("node", "Log directories that failed or are missing"),
        "tidelog_moving_logs": ("node", "Logs on their way to another log directory"),
    },
)

_HISTOGRAMS: Final = _table(
    "histogram",
    {
        "tidelog_request_stage_seconds": (
            "node request stage",
            "Time of requests by stage; of a sample, weighted",
        ),
        "tidelog_fsync_seconds": ("node", "Duration of each fsync and fdatasync"),
        "tidelog_event_loop_lag_seconds": (
            "node",
            "How late the event loop ran a timer of 100 ms, also the supervisor's",
        ),
    },
)

_TOPICS: Final = _table(
    "counter",
    {
        "kafka_server_brokertopicmetrics_bytesin_total": (
            "node topic",
            "Bytes of batches appended",
        ),
        "kafka_server_brokertopicmetrics_messagesin_total": ("node topic", "Records appended"),
        "kafka_server_brokertopicmetrics_bytesout_total": (
            "node topic",
            "Bytes of batches in answers to Fetch",
        ),
        "tidelog_topic_messages_out_total": (
            "node topic",
            "Records in answers to Fetch; an estimate where an answer was cut by its size limit",
        ),
    },
) + _table(
    "gauge",
    {
        "kafka_topic_partition_current_offset": ("topic partition", "High watermark"),
        "kafka_topic_partition_oldest_offset": ("topic partition", "Log start offset"),
        "kafka_topic_partition_leader": ("topic partition", "Id of the node that leads, -1: none"),
        "kafka_log_log_size": ("topic partition", "Size of the log in bytes"),
        "kafka_log_log_numlogsegments": ("topic partition", "Segments of the log"),
        "kafka_log_log_logendoffset": ("topic partition", "Log end offset"),
    },
)

_GROUPS: Final = _table(
    "gauge",
    {
        "kafka_consumergroup_members": ("consumergroup", "Members of the group"),
        "tidelog_consumergroup_state": (
            "consumergroup protocol state",
            "1 for the state that the group is in",
        ),
        "kafka_consumergroup_current_offset": (
            "consumergroup topic partition",
            "Offset that the group has committed",
        ),
        "kafka_consumergroup_lag": (
            "consumergroup topic partition",
            "High watermark less the committed offset",
        ),
    },
)

METRICS: Final = (*_NODES, *PROCESSES, *_REQUESTS, *_HISTOGRAMS, *_TOPICS, *_GROUPS)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
