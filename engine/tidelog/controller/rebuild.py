"""The metadata of a cluster whose store is lost, from what its logs tell. Pure: logs in, change
records and notes out.

What the logs do not tell is chosen so that nothing is lost by it and nothing is given out twice:

- A topic's own configs are gone. Its records are kept whatever the broker's defaults are, until
  somebody sets configs again; the broker's own topics get what it always gives them.
- Leader epochs begin well above any in the log (`REBUILT_LEADER_EPOCH_STEP`).
- Producer ids begin at the clock in microseconds: a cluster that starts at 0 and gives out less
  than a million a second has not been there, whatever it forgot since.
- A partition that is nowhere while later ones of its topic are begins empty: keys stay with their
  partitions.
- What cannot be taken is left, with a note. The next start of its node sets it aside as stray.

Where the old store is good (`--force`: there are logs that it does not know), what it says about
configs, partitions and epochs holds as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from tidelog.config import BrokerConfig, ResourceType
from tidelog.controller.decision import Random
from tidelog.controller.topic_names import name_problem
from tidelog.controller.topics import internal_topic, random_topic_id
from tidelog.limits import (
    PARTITIONS_PER_REQUEST_MAX,
    PRODUCER_ID_BLOCK_SIZE,
    REBUILT_LEADER_EPOCH_STEP,
)
from tidelog.metadata.features import FEATURES_OF_NEW_CLUSTERS
from tidelog.metadata.image import MetadataImage, TopicImage
from tidelog.metadata.records import (
    ChangeRecord,
    ClusterRecord,
    ConfigRecord,
    FeatureRecord,
    NodeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaRecord,
    TopicRecord,
)
from tidelog.storage.partition_metadata import format_topic_id

#: What holds for a restored topic until somebody decides: nothing is removed.
KEEP_EVERYTHING: Final[Mapping[str, str]] = {
    "cleanup.policy": "delete",
    "retention.bytes": "-1",
    "retention.ms": "-1",
}

#: Above it there is no room for the lives to come.
_LEADER_EPOCH_MAX: Final = 2**31 - 1 - 1_000 * REBUILT_LEADER_EPOCH_STEP

#: A higher one was never given out: it is damage.
_PRODUCER_ID_BELIEVED_MAX: Final = 2**62


class FoundLog(msgspec.Struct, frozen=True):
    """A log in a node's folder. where: for the user; topic_id None: not known; made_ms: when the
    log was made; latest_epoch, highest_producer_id: -1 for none.
    """

    node_id: int
    where: str
    topic: str
    index: int
    topic_id: bytes | None
    made_ms: int
    latest_epoch: int
    log_end_offset: int
    highest_producer_id: int


class Note(msgspec.Struct, frozen=True):
    """Something that the user should know about a log or a partition."""

    where: str
    what: str


class RebuiltTopic(msgspec.Struct, frozen=True):
    """A topic as it will be. new_partitions: those that begin empty; new_id: the old one is
    lost.
    """

    name: str
    topic_id: bytes
    partitions: tuple[PartitionRecord, ...]
    new_partitions: tuple[int, ...]
    new_id: bool
    configs: tuple[tuple[str, str], ...]


class RebuiltMetadata(msgspec.Struct, frozen=True):
    """records: all of the new store."""

    records: tuple[ChangeRecord, ...]
    topics: tuple[RebuiltTopic, ...]
    notes: tuple[Note, ...]


def rebuild_metadata(
    cluster_id: str,
    nodes: Mapping[int, str],
    logs: Iterable[FoundLog],
    config: BrokerConfig,
    now_ms: int,
    rng: Random,
    known: MetadataImage | None = None,
) -> RebuiltMetadata:
    """nodes: folders by id; at least one. config: the broker's, for its own topics. known: what
    the old store holds, if it is a good one.
    """
    return _Rebuild(nodes, config, rng, known or MetadataImage()).run(
        cluster_id, list(logs), now_ms
    )


class _Rebuild:
    def __init__(
        self, nodes: Mapping[int, str], config: BrokerConfig, rng: Random, known: MetadataImage
    ) -> None:
        self._nodes = nodes
        self._config = config
        self._rng = rng
        self._known = known
        self._notes: list[Note] = []
        self._names_by_id: dict[bytes, str] = {}
        self._held = Counter[int]()

    def run(self, cluster_id: str, logs: list[FoundLog], now_ms: int) -> RebuiltMetadata:
        by_name: dict[str, list[FoundLog]] = {}
        for log in logs:
            problem = _problem(log)
            if problem is not None:
                self._note(log.where, f"not taken: {problem}")
                continue
            by_name.setdefault(log.topic, []).append(log)
        # Where one id has two names, the name with more logs keeps it.
        names = sorted(by_name, key=lambda name: (-len(by_name[name]), name))
        taken = {name: self._choose_logs(name, by_name[name]) for name in names}
        self._held.update(log.node_id for chosen in taken.values() for log in chosen.values())
        topics = [self._topic(name, taken[name]) for name in sorted(taken) if taken[name]]
        records: list[ChangeRecord] = [ClusterRecord(cluster_id)]
        records.extend(_node(node_id, folder) for node_id, folder in self._nodes.items())
        for topic in topics:
            records.append(TopicRecord(topic.topic_id, topic.name))
            records.extend(topic.partitions)
            records.extend(
                ConfigRecord(ResourceType.TOPIC, topic.name, key, value)
                for key, value in topic.configs
            )
        next_producer_id = max(_next_producer_id(logs, now_ms), self._known.next_producer_id)
        records.append(ProducerIdsRecord(next_producer_id))
        records.extend(self._other_records())
        return RebuiltMetadata(tuple(records), tuple(topics), tuple(self._notes))

    def _choose_logs(self, name: str, logs: Sequence[FoundLog]) -> dict[int, FoundLog]:
        """One log for each partition of one topic."""
        topic_id = self._choose_id(name, logs)
        if topic_id is not None and topic_id in self._names_by_id:
            for log in logs:
                other = self._names_by_id[topic_id]
                self._note(log.where, f"not taken: its topic id is that of topic {other}")
            return {}
        if topic_id is not None:
            self._names_by_id[topic_id] = name
        chosen: dict[int, FoundLog] = {}
        for log in sorted(logs, key=_preference, reverse=True):
            if log.topic_id not in (None, topic_id):
                self._note(
                    log.where,
                    f"not taken: topic id {_shown(log.topic_id)}, but the topic {name} that was"
                    f" made last has {_shown(topic_id)}",
                )
            elif log.index in chosen:
                better = chosen[log.index].where
                self._note(log.where, f"not taken: the same partition in {better} goes further")
            else:
                chosen[log.index] = log
        return self._within_reach(dict(sorted(chosen.items())))

    def _choose_id(self, name: str, logs: Sequence[FoundLog]) -> bytes | None:
        """The id that the name belongs to: of the log made last, since a topic's logs are made
        before the next topic of that name. None when no log has one.
        """
        counts = Counter(log.topic_id for log in logs)
        ranked = [(log.made_ms, counts[log.topic_id], log.topic_id) for log in logs if log.topic_id]
        return max(ranked)[2] if ranked else None

    def _within_reach(self, chosen: dict[int, FoundLog]) -> dict[int, FoundLog]:
        """Without logs so far behind the others that more would have to be made than one request
        may.
        """
        within = {}
        for position, (index, log) in enumerate(chosen.items()):
            missing = index - position
            if missing > PARTITIONS_PER_REQUEST_MAX:
                self._note(log.where, f"not taken: {missing} partitions before it are missing")
            else:
                within[index] = log
        return within

    def _other_records(self) -> Iterator[ChangeRecord]:
        """What a good store holds besides topics; without one, the features of a new cluster."""
        if not self._known.cluster_id:
            yield from (FeatureRecord(name, level) for name, level in FEATURES_OF_NEW_CLUSTERS)
        for record in self._known.to_records():
            match record:
                case ConfigRecord(resource_type=kind) if kind != ResourceType.TOPIC:
                    yield record
                case FeatureRecord() | QuotaRecord():
                    yield record
        for name in sorted(self._known.topics.keys() - self._names_by_id.values()):
            self._note(name, "in the old store, but no log of it was found: not taken")

    def _topic(self, name: str, logs: Mapping[int, FoundLog]) -> RebuiltTopic:
        known = self._known_id(name, logs)
        topic_id = known or random_topic_id(self._rng)
        if known is None:
            self._note(name, "its id is lost: it gets a new one")
        self._names_by_id[topic_id] = name
        old = self._known.topic_by_id(topic_id)
        highest_epoch = max(log.latest_epoch for log in logs.values())
        partitions, missing = [], []
        for index in range(max(max(logs) + 1, len(old.partitions) if old else 0)):
            log = logs.get(index)
            if log is None:
                node_id = self._least_loaded()
                missing.append(index)
                self._note(f"{name}-{index}", f"found nowhere: it begins empty on node {node_id}")
            else:
                node_id = log.node_id
            epoch = highest_epoch if log is None else log.latest_epoch
            if old is not None and index < len(old.partitions):
                epoch = max(epoch, old.partitions[index].leader_epoch)
            partitions.append(_partition(topic_id, index, node_id, epoch))
        configs = tuple(self._configs(name, old).items())
        return RebuiltTopic(
            name, topic_id, tuple(partitions), tuple(missing), known is None, configs
        )

    def _known_id(self, name: str, logs: Mapping[int, FoundLog]) -> bytes | None:
        for log in logs.values():
            if log.topic_id is not None:
                return log.topic_id
        old = self._known.topics.get(name)
        return None if old is None or old.topic_id in self._names_by_id else old.topic_id

    def _configs(self, name: str, old: TopicImage | None) -> Mapping[str, str]:
        if old is not None and old.name == name:
            return self._known.config(ResourceType.TOPIC, name)
        own = internal_topic(name, self._config, len(self._nodes))
        if own is None:
            return KEEP_EVERYTHING
        return {key: value for key, value in own.configs if value is not None}

    def _least_loaded(self) -> int:
        node_id = min(self._nodes, key=lambda node: (self._held[node], node))
        self._held[node_id] += 1
        return node_id

    def _note(self, where: str, what: str) -> None:
        self._notes.append(Note(where, what))


def _problem(log: FoundLog) -> str | None:
    """Why the log cannot be a partition, whatever else there is."""
    if log.latest_epoch > _LEADER_EPOCH_MAX:
        return f"leader epoch {log.latest_epoch} leaves none for the leaders to come"
    return name_problem(log.topic)


def _preference(log: FoundLog) -> tuple[bool, int, int, int]:
    """Of two logs of a partition the better one: Kafka's order of replicas, after what is sure."""
    return log.topic_id is not None, log.latest_epoch, log.log_end_offset, -log.node_id


def _partition(topic_id: bytes, index: int, node_id: int, latest_epoch: int) -> PartitionRecord:
    return PartitionRecord(
        topic_id,
        index,
        replicas=(node_id,),
        isr=(node_id,),
        leader=node_id,
        leader_epoch=latest_epoch + REBUILT_LEADER_EPOCH_STEP,
        partition_epoch=0,
    )


def _node(node_id: int, folder: str) -> NodeRecord:
    """As a broker that stopped has left it: it registers with its addresses when it starts."""
    return NodeRecord(node_id, 0, None, (), "", 0, fenced=False, directory=folder)


def _next_producer_id(logs: Iterable[FoundLog], now_ms: int) -> int:
    ids = (log.highest_producer_id for log in logs)
    highest = max((one for one in ids if one <= _PRODUCER_ID_BELIEVED_MAX), default=-1)
    first = max(now_ms * 1_000, highest + 1)
    return -(-first // PRODUCER_ID_BLOCK_SIZE) * PRODUCER_ID_BLOCK_SIZE


def _shown(topic_id: bytes | None) -> str:
    return "unknown" if topic_id is None else format_topic_id(topic_id)
