"""What a node counts anyway, as a run of the sampler reads it before and after (loop thread)."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tidelog._native.request_stats import STAGES
from tidelog.cpu_samples import Counted, StageTime
from tidelog.protocol.api import ApiKey
from tidelog.storage.durations import SYNCS

if TYPE_CHECKING:
    from tidelog._native.partition import PartitionTable
    from tidelog._native.transport import Reactor


class NodeCounters:
    """The counters of a node; see `run.Counters`."""

    def __init__(self, reactor: Reactor, table: PartitionTable) -> None:
        self._reactor = reactor
        self._table = table

    def read(self) -> Counted:
        """Everything since the node's start."""
        reactor = self._reactor
        requests: Counter[str] = Counter()
        for api, _, count in reactor.stats.request_counts():
            requests[api_name(api)] += count
        stages = [
            StageTime(api_name(api), STAGES[stage], sum(counts), sum_ns)
            for api, stage, counts, sum_ns in reactor.stats.stage_histograms()
        ]
        appended = records = fetched = 0
        for entry in self._table.topics():
            for partition in entry.partitions:
                appended += partition.bytes_in
                records += partition.records_in
                fetched += partition.bytes_out
        syncs, sync_s = SYNCS.snapshot()
        return Counted(
            dict(requests),
            reactor.bytes_in,
            reactor.bytes_out,
            appended,
            records,
            fetched,
            stages,
            sum(syncs),
            int(sync_s * 1e9),
            time.process_time_ns(),
        )

    def timing(self, wanted: bool) -> bool:
        """Has times of requests taken, or not; returns whether they were."""
        stats = self._reactor.stats
        before, stats.timing = bool(stats.timing), wanted
        return before


def api_name(api: int) -> str:
    """The API by Kafka's name, or its number."""
    try:
        return "".join(map(str.title, ApiKey(api).name.split("_")))
    except ValueError:
        return str(api)


def difference(before: Counted, after: Counted) -> Counted:
    """What was counted between the two; no less than nothing, where what was counted is gone (a
    topic that was deleted).
    """
    sums = {(one.api, one.stage): (one.count, one.sum_ns) for one in before.stages}
    stages = []
    for one in after.stages:
        count, sum_ns = sums.get((one.api, one.stage), (0, 0))
        if one.count > count:
            stages.append(StageTime(one.api, one.stage, one.count - count, one.sum_ns - sum_ns))
    return Counted(
        {
            api: count - before.requests.get(api, 0)
            for api, count in after.requests.items()
            if count > before.requests.get(api, 0)
        },
        after.received_bytes - before.received_bytes,
        after.sent_bytes - before.sent_bytes,
        max(0, after.appended_bytes - before.appended_bytes),
        max(0, after.appended_records - before.appended_records),
        max(0, after.fetched_bytes - before.fetched_bytes),
        stages,
        after.syncs - before.syncs,
        after.sync_ns - before.sync_ns,
        after.process_cpu_ns - before.process_cpu_ns,
    )
