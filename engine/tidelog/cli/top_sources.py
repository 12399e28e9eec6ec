"""Where `tidelog top` looks: at Tidelog's endpoint of metrics, or, for any broker, at what the
public APIs tell: offsets of topics and groups. Runs in the user's shell.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tidelog.cli.cluster import TIMEOUT_S, CommandError, reason, result_of
from tidelog.cli.group_offsets import committed_offsets, end_offsets
from tidelog.cli.top_view import GroupTotals, Look, NodeTotals, TopicTotals

#: What is read of an answer at most.
SCRAPE_BYTES_MAX: Final = 256 * 1024 * 1024


class MetricsSource:
    """`tidelog serve --metrics` at that address."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/metrics"

    def look(self) -> Look:
        """Raises CommandError."""
        began_s = time.monotonic()
        try:
            with urllib.request.urlopen(self._url, timeout=TIMEOUT_S) as answer:
                text = answer.read(SCRAPE_BYTES_MAX).decode()
        except (OSError, ValueError, urllib.error.URLError) as error:
            why = getattr(error, "reason", None) or error
            raise CommandError(f"{self._url}: {getattr(why, 'strerror', None) or why}") from error
        now_s = time.monotonic()
        return read_metrics(text, now_s, now_s - began_s)


def read_metrics(text: str, at_s: float, answered_s: float) -> Look:
    """A look from the text of a scrape. Raises CommandError when it is none."""
    # Only now: no other command needs it, and it takes 70 ms to load.
    from prometheus_client.parser import text_string_to_metric_families

    look = Look(at_s, answered_s)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                _take(look, sample.name, sample.labels, sample.value)
    except (ValueError, KeyError) as error:
        raise CommandError(f"the answer is no text of metrics: {error}") from error
    return look


def _take(look: Look, name: str, labels: dict[str, str], value: float) -> None:
    if name == "tidelog_request_stage_seconds_bucket" and labels["stage"] == "total":
        histogram = look.latencies.setdefault(labels["request"], {})
        bound = float(labels["le"])
        histogram[bound] = histogram.get(bound, 0) + value
    elif "consumergroup" in labels:
        group = look.groups.setdefault(labels["consumergroup"], GroupTotals())
        match name:
            case "kafka_consumergroup_members":
                group.members = int(value)
            case "tidelog_consumergroup_state":
                group.state = labels["state"]
            case "kafka_consumergroup_current_offset":
                group.topic(labels["topic"]).committed += value
            case "kafka_consumergroup_lag":
                group.topic(labels["topic"]).lag += int(value)
    elif "topic" in labels:
        _take_topic(look.topics.setdefault(labels["topic"], TopicTotals()), name, value)
    elif "node" in labels:
        node = look.nodes.setdefault(labels["node"], NodeTotals())
        match name:
            case "tidelog_node_up":
                node.up = value > 0
            case "process_cpu_seconds_total":
                node.cpu_s = value
            case "process_resident_memory_bytes":
                node.memory = value
            case "tidelog_connections":
                node.connections = int(value)


def _take_topic(topic: TopicTotals, name: str, value: float) -> None:
    match name:
        case "kafka_server_brokertopicmetrics_messagesin_total":
            topic.records_in += value
        case "kafka_server_brokertopicmetrics_bytesin_total":
            topic.bytes_in = (topic.bytes_in or 0) + value
        case "kafka_server_brokertopicmetrics_bytesout_total":
            topic.bytes_out = (topic.bytes_out or 0) + value
        case "kafka_log_log_size":
            topic.size = (topic.size or 0) + value


class ClusterSource:
    """Any broker, by its public APIs: rates are what offsets move by."""

    def __init__(self, client: AdminClient, *, internal: bool) -> None:
        self._client = client
        self._internal = internal

    def look(self) -> Look:
        """Raises CommandError."""
        began_s = time.monotonic()
        try:
            found = self._client.list_topics(timeout=TIMEOUT_S).topics
        except KafkaException as error:
            raise CommandError(f"the topics cannot be listed: {reason(error)}") from error
        topics = {
            name: sorted(topic.partitions)
            for name, topic in found.items()
            if self._internal or not name.startswith("__")
        }
        answered_s = time.monotonic() - began_s
        keys = [(name, index) for name, indexes in topics.items() for index in indexes]
        groups = dict(self._groups())
        committed = {name: committed_offsets(self._client, name) for name in groups}
        ends = end_offsets(self._client, {*keys, *(key for of in committed.values() for key in of)})
        look = Look(time.monotonic(), answered_s, groups=groups)
        totals: defaultdict[str, TopicTotals] = defaultdict(TopicTotals)
        for key in keys:
            totals[key[0]].records_in += ends.get(key, 0)
        look.topics = dict(totals)
        for name, offsets in committed.items():
            for key, offset in offsets.items():
                progress = groups[name].topic(key[0])
                progress.committed += offset
                progress.lag += max(ends.get(key, offset) - offset, 0)
        return look

    def _groups(self) -> Iterator[tuple[str, GroupTotals]]:
        found = result_of(
            self._client.list_consumer_groups(request_timeout=TIMEOUT_S),
            "the groups cannot be listed",
        )
        names = sorted(str(one.group_id) for one in found.valid)
        if not names:
            return
        futures = self._client.describe_consumer_groups(names, request_timeout=TIMEOUT_S)
        for name, future in futures.items():
            try:
                one: Any = future.result(TIMEOUT_S + 5)
            except KafkaException:
                continue  # deleted meanwhile
            state = "".join(part.title() for part in one.state.name.split("_"))
            yield name, GroupTotals(state, len(one.members))
