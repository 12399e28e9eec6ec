"""The text of a scrape: what the nodes told, what the supervisor knows, and what follows from both.

Runs on a helper thread of the supervisor; reads only what it is given, and /proc. The format is
prometheus_client's.

A group's lag is made here: its committed offsets come from the node that coordinates it, the ends
of its partitions from those that lead them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from tidelog._native.request_stats import BUCKETS_S
from tidelog.limits import METRICS_CLUSTER_PARTITIONS_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.process.metrics import definitions
from tidelog.process.metrics.samples import Buckets, Labels, NodeState, Samples
from tidelog.storage.durations import BOUNDS_S

SUPERVISOR: Final = "supervisor"
VERSION: Final = version("tidelog")
_PROCESS_NAMES: Final = frozenset(metric.name for metric in definitions.PROCESSES)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as a scrape found it. state None: it did not answer. pid: of its process, if any."""

    node_id: int
    pid: int | None
    deaths: int
    state: NodeState | None = None
    samples: Samples | None = None


@dataclass(frozen=True, slots=True)
class HostView:
    """What one scrape shows; pid and lag are the supervisor's."""

    image: MetadataImage
    nodes: Sequence[NodeView]
    pid: int
    lag: Buckets | None = None


@dataclass(slots=True, eq=False)
class _Collected:
    values: defaultdict[str, list[tuple[Labels, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    histograms: defaultdict[str, list[Buckets]] = field(default_factory=lambda: defaultdict(list))

    def put(self, name: str, value: float, *labels: str) -> None:
        self.values[name].append((labels, value))

    def collect(self) -> Iterator[Metric]:
        """For the registry of prometheus_client."""
        for metric in definitions.METRICS:
            if metric.kind == "histogram":
                yield _histogram(metric, self.histograms.get(metric.name, ()))
                continue
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in self.values.get(metric.name, ()):
                family.add_metric(labels, value)
            yield family


def render(view: HostView, accept: str) -> tuple[bytes, str]:
    """The text and its content type; `accept` is the header of the request."""
    collected = _Collected()
    _put_cluster(collected, view.image)
    for node in view.nodes:
        _put_node(collected, node)
    if view.lag is not None:
        collected.histograms["tidelog_event_loop_lag_seconds"].append(view.lag)
    _put_processes(collected, view)
    samples = [node.samples for node in view.nodes if node.samples is not None]
    _put_offsets(collected, samples, _put_logs(collected, samples))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collected)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _put_cluster(collected: _Collected, image: MetadataImage) -> None:
    put = collected.put
    put("tidelog_build_info", 1, VERSION)
    put("tidelog_metadata_version", image.version)
    put("kafka_brokers", len(image.alive_nodes()))
    put("kafka_controller_kafkacontroller_globaltopiccount", len(image.topics))
    partitions = offline = dropped = 0
    for topic in image.topics.values():
        shown = partitions < METRICS_CLUSTER_PARTITIONS_MAX
        if shown:
            put("kafka_topic_partitions", len(topic.partitions), topic.name)
        for partition in topic.partitions:
            partitions += 1
            offline += partition.leader < 0
            if not shown or partitions > METRICS_CLUSTER_PARTITIONS_MAX:
                dropped += 1
                continue
            put("kafka_topic_partition_leader", partition.leader, topic.name, str(partition.index))
    put("tidelog_metrics_dropped_series", dropped, SUPERVISOR, "leader")
    put("kafka_controller_kafkacontroller_globalpartitioncount", partitions)
    put("kafka_controller_kafkacontroller_offlinepartitionscount", offline)


def _put_node(collected: _Collected, node: NodeView) -> None:
    name, state = str(node.node_id), node.state
    collected.put("tidelog_node_up", int(state is not None), name)
    collected.put("tidelog_node_deaths_total", node.deaths, name)
    if state is not None:
        collected.put("tidelog_node_serving", int(state.serving), name)
        collected.put("tidelog_node_metadata_version", state.version, name)
        collected.put("tidelog_node_logs_opening", state.logs_opening, name)
        collected.put("tidelog_node_logs_offline", state.logs_offline, name)
    if node.samples is None:
        return
    for metric, samples in node.samples.values.items():
        labels = definitions.BY_NAME[metric].labels
        first = (name,) if labels[:1] == ("node",) else ()
        collected.values[metric] += [((*first, *rest), value) for rest, value in samples]
    for metric, histograms in node.samples.histograms.items():
        collected.histograms[metric] += [
            Buckets((name, *one.labels), one.counts, one.sum_s) for one in histograms
        ]


def _put_processes(collected: _Collected, view: HostView) -> None:
    """From /proc, so that a worker that hangs is seen, too."""
    processes = [(SUPERVISOR, view.pid)]
    processes += [(str(node.node_id), node.pid) for node in view.nodes if node.pid is not None]
    for name, pid in processes:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            for sample in family.samples:
                if sample.name in _PROCESS_NAMES:
                    collected.put(sample.name, sample.value, name)


def _put_logs(collected: _Collected, samples: Sequence[Samples]) -> dict[tuple[str, int], int]:
    """Returns the high watermarks."""
    put, ends = collected.put, {}
    for log in (log for told in samples for log in told.logs):
        labels = (log.topic, str(log.partition))
        put("kafka_topic_partition_current_offset", log.high_watermark, *labels)
        put("kafka_topic_partition_oldest_offset", log.log_start_offset, *labels)
        put("kafka_log_log_logendoffset", log.log_end_offset, *labels)
        put("kafka_log_log_size", log.size, *labels)
        put("kafka_log_log_numlogsegments", log.segments, *labels)
        ends[log.topic, log.partition] = log.high_watermark
    return ends


def _put_offsets(
    collected: _Collected, samples: Sequence[Samples], ends: Mapping[tuple[str, int], int]
) -> None:
    for one in (one for told in samples for one in told.offsets):
        labels = (one.group, one.topic, str(one.partition))
        collected.put("kafka_consumergroup_current_offset", one.offset, *labels)
        end = ends.get((one.topic, one.partition))
        if end is not None:
            # Never negative: the end may have been told before the commit.
            collected.put("kafka_consumergroup_lag", max(end - one.offset, 0), *labels)


def _histogram(metric: definitions.Metric, found: Iterable[Buckets]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for one in found:
        bounds = BUCKETS_S if len(one.counts) == len(BUCKETS_S) + 1 else BOUNDS_S
        buckets, total = [], 0
        for bound, count in zip([*map(_bound, bounds), "+Inf"], one.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(one.labels, buckets, one.sum_s)
    return family


def _bound(seconds: float) -> str:
    return f"{seconds:g}" if seconds >= 0.001 else f"{seconds:.5f}".rstrip("0")
