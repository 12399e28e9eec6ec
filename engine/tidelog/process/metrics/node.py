"""Puts together what a worker tells about itself. Runs on the worker's loop, in pieces: between two
of them requests have their turn.

It reads counters that are kept anyway; nothing is computed before somebody asks. How many series a
node may tell has limits (METRICS_*_MAX): what is beyond is left out and counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from tidelog._native import log_file
from tidelog._native.request_stats import STAGES
from tidelog.limits import (
    METRICS_GROUP_OFFSETS_MAX,
    METRICS_GROUPS_MAX,
    METRICS_PARTITIONS_MAX,
    METRICS_SLICE,
)
from tidelog.process.metrics.samples import Buckets, Labels, LogSample, OffsetSample, Samples
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.storage.durations import SYNCS, Durations

if TYPE_CHECKING:
    from tidelog._native.partition import Partition, PartitionTable
    from tidelog.coordinator.group.registry import Group, GroupRegistry
    from tidelog.coordinator.group_service import GroupService
    from tidelog.handlers.dispatch import Dispatcher
    from tidelog.net.server import Server
    from tidelog.process.metrics.loop_lag import LoopLag
    from tidelog.quotas.replication import ReplicationQuotas
    from tidelog.storage.log_directories import LogDirectories

#: (name of the metric, labels, value)
Value = tuple[str, Labels, float]

_API_NAMES: Final = {int(key): "".join(map(str.title, key.name.split("_"))) for key in ApiKey}


class NodeMetrics:
    """What of a node is told."""

    def __init__(
        self,
        server: Server,
        dispatcher: Dispatcher,
        table: PartitionTable,
        groups: GroupService,
        lag: LoopLag,
        logs: LogDirectories,
        throttles: ReplicationQuotas,
    ) -> None:
        self._server = server
        self._dispatcher = dispatcher
        self._table = table
        self._groups = groups
        self._lag = lag
        self._logs = logs
        self._throttles = throttles

    async def collect(self) -> Samples:
        """Everything as it is now."""
        values: defaultdict[str, list[tuple[Labels, float]]] = defaultdict(list)
        histograms = self._histograms()
        logs: list[LogSample] = []
        offsets: list[OffsetSample] = []
        dropped: Counter[str] = Counter()
        for count, found in enumerate(self._all(dropped), 1):
            match found:
                case LogSample():
                    logs.append(found)
                case OffsetSample():
                    offsets.append(found)
                case (name, labels, value):
                    values[name].append((labels, value))
            if count % METRICS_SLICE == 0:
                await asyncio.sleep(0)
        values["tidelog_metrics_dropped_series"] = [
            ((kind,), dropped[kind]) for kind in ("partition", "group", "offset")
        ]
        return Samples(dict(values), histograms, logs, offsets)

    def _all(self, dropped: Counter[str]) -> Iterator[Value | LogSample | OffsetSample]:
        yield from self._server_values()
        yield from self._cleaner_values()
        yield from self._directory_values()
        for side, quota in (
            ("leader", self._throttles.leader),
            ("follower", self._throttles.follower),
        ):
            yield "tidelog_throttled_replication_bytes_total", (side,), quota.total_bytes
        yield from self._partition_values(dropped)
        yield from self._group_values(dropped)

    def _server_values(self) -> Iterator[Value]:
        server, reactor = self._server, self._server.reactor
        open_segments, _, opened = log_file.stats()
        for name, value in (
            ("tidelog_received_bytes_total", reactor.bytes_in),
            ("tidelog_sent_bytes_total", reactor.bytes_out),
            ("tidelog_cold_reads_total", reactor.cold_reads),
            ("tidelog_queued_bytes", reactor.total_bytes),
            ("tidelog_unsent_bytes", reactor.total_unsent),
            ("tidelog_starving", int(reactor.starving)),
            ("tidelog_connections", server.connections),
            ("tidelog_connections_accepted_total", server.accepted),
            ("tidelog_connections_refused_total", server.refused),
            ("tidelog_fetch_sessions", len(server.sessions)),
            ("tidelog_open_segments", open_segments),
            ("tidelog_segments_opened_total", opened),
        ):
            yield name, (), value
        for api, version, count in reactor.stats.request_counts():
            labels = (_API_NAMES.get(api, str(api)), str(version))
            yield "kafka_network_requestmetrics_requests_total", labels, count
        errors = Counter({(api, code): count for api, code, count in reactor.stats.error_counts()})
        errors.update({(int(key), code): n for (key, code), n in self._dispatcher.errors.items()})
        for (api, code), count in errors.items():
            labels = (_API_NAMES.get(api, str(api)), error_name(code))
            yield "kafka_network_requestmetrics_errors_total", labels, count

    def _cleaner_values(self) -> Iterator[Value]:
        stats = self._logs.cleaner_stats()
        for result, count in (
            ("completed", stats.cleanings),
            ("stopped", stats.stopped),
            ("failed", stats.failed),
        ):
            yield "tidelog_compactions_total", (result,), count
        for name, value in (
            ("tidelog_compaction_read_bytes_total", stats.bytes_read),
            ("tidelog_compaction_removed_bytes_total", stats.bytes_before - stats.bytes_after),
            ("tidelog_compaction_seconds_total", stats.busy_ms / 1000),
            ("tidelog_compaction_dirtiest_ratio", stats.dirtiest_ratio),
            ("tidelog_uncleanable_logs", stats.uncleanable_logs),
        ):
            yield name, (), value

    def _directory_values(self) -> Iterator[Value]:
        views = self._logs.views()
        offline = sum(view.failure is not None for view in views)
        yield "tidelog_offline_log_directories", (), offline
        yield "tidelog_moving_logs", (), sum(len(view.moves) for view in views)

    def _histograms(self) -> dict[str, list[Buckets]]:
        stages = [
            Buckets((_API_NAMES.get(api, str(api)), STAGES[stage]), counts, sum_ns / 1e9)
            for api, stage, counts, sum_ns in self._server.reactor.stats.stage_histograms()
        ]
        return {
            "tidelog_request_stage_seconds": stages,
            "tidelog_fsync_seconds": [_buckets(SYNCS)],
            "tidelog_event_loop_lag_seconds": [_buckets(self._lag.durations)],
        }

    def _partition_values(self, dropped: Counter[str]) -> Iterator[Value | LogSample]:
        left = METRICS_PARTITIONS_MAX
        damaged = 0
        for entry in self._table.topics():
            topic = entry.name.decode()
            led = [partition for partition in entry.partitions if partition.is_leader]
            if led and left > 0:
                yield from _topic_values(topic, entry.partitions)
            for partition in led:
                # (It may have been closed while others had their turn.)
                log = partition.log
                if log is not None:
                    damaged += sum(bool(segment.damaged) for segment in log.segment_list)
                if left <= 0:
                    dropped["partition"] += 1
                elif log is not None:
                    yield LogSample(
                        topic,
                        partition.index,
                        log.log_start_offset,
                        partition.high_watermark,
                        log.log_end_offset,
                        log.size_bytes,
                        len(log.segment_list),
                    )
                left -= 1
        yield "tidelog_node_damaged_segments", (), damaged

    def _group_values(self, dropped: Counter[str]) -> Iterator[Value | OffsetSample]:
        groups_left, offsets_left = METRICS_GROUPS_MAX, METRICS_GROUP_OFFSETS_MAX
        for shard in self._groups.runtime.active_shards():
            # A copy: it may change while others have their turn.
            for group in list(shard.registry.groups()):
                if groups_left <= 0:
                    dropped["group"] += 1
                    continue
                groups_left -= 1
                yield from _state_values(group)
                for sample in list(_committed(shard.registry, group.group_id)):
                    if offsets_left <= 0:
                        dropped["offset"] += 1
                        continue
                    offsets_left -= 1
                    yield sample


def error_name(code: int) -> str:
    """The error's name as in Kafka, or its number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)


def _buckets(durations: Durations) -> Buckets:
    counts, sum_s = durations.snapshot()
    return Buckets((), counts, sum_s)


def _topic_values(topic: str, partitions: Iterable[Partition]) -> Iterator[Value]:
    bytes_in = records_in = bytes_out = records_out = 0
    for partition in partitions:
        bytes_in += partition.bytes_in
        records_in += partition.records_in
        bytes_out += partition.bytes_out
        records_out += partition.records_out
    yield "kafka_server_brokertopicmetrics_bytesin_total", (topic,), bytes_in
    yield "kafka_server_brokertopicmetrics_messagesin_total", (topic,), records_in
    yield "kafka_server_brokertopicmetrics_bytesout_total", (topic,), bytes_out
    yield "tidelog_topic_messages_out_total", (topic,), records_out


def _state_values(group: Group) -> Iterator[Value]:
    yield "kafka_consumergroup_members", (group.group_id,), len(group.members)
    labels = (group.group_id, group.type_name, group.state_name)
    yield "tidelog_consumergroup_state", labels, 1


def _committed(registry: GroupRegistry, group_id: str) -> Iterator[OffsetSample]:
    for topic, partitions in registry.offsets.topics(group_id):
        for index, committed in partitions.items():
            yield OffsetSample(group_id, topic, index, committed.offset)
