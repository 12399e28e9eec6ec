"""What an operation on a consumer group has decided so far: the group with its changes on top, and
the records that will make them so. Pure.

An operation never changes the group itself: when its records are written, replay does. The draft
lets the later steps of an operation see the earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidelog.coordinator.group import consumer_records as records_of
from tidelog.coordinator.group.assignors import (
    ASSIGNORS,
    GroupSpec,
    MemberSpec,
    Partitions,
    TopicPartition,
)
from tidelog.coordinator.group.consumer_group import (
    ConsumerGroup,
    ResolvedRegex,
    preferred_assignor,
    topics_of,
)
from tidelog.coordinator.group.consumer_member import ConsumerMember
from tidelog.coordinator.group.subscriptions import (
    TopicMatcher,
    metadata_hash,
    partition_counts,
)
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.metadata.image import MetadataImage


class GroupDraft:
    """`then`: soft state to change when the records are written (timers, answers)."""

    def __init__(self, group: ConsumerGroup, image: MetadataImage, matcher: TopicMatcher) -> None:
        self.group = group
        self.group_id = group.group_id
        self.image = image
        self._matcher = matcher
        self.records: list[CoordinatorRecord] = []
        self.then: list[Callable[[], None]] = []
        # The first epoch that is told is 2, as in Kafka.
        self.epoch = group.epoch or 1
        self.target_epoch = group.target_epoch
        self.target_since_ms = group.target_since_ms
        self.members: Mapping[str, ConsumerMember] = group.members
        self.target: Mapping[str, Partitions] = group.target
        self.regexes: Mapping[str, ResolvedRegex] = group.regexes
        self._released: set[TopicPartition] = set()

    # -- members --------------------------------------------------------------------------------

    def put(self, member: ConsumerMember) -> bool:
        """What the member says about itself; whether it subscribes to something else, or wants
        another assignor.
        """
        before = self.members.get(member.member_id)
        if before == member:
            return False
        self._set(member)
        record = records_of.member_record(self.group_id, member)
        if before is not None and record == records_of.member_record(self.group_id, before):
            return False
        self.records.append(record)
        return before is None or _wishes(before) != _wishes(member)

    def put_current(self, member: ConsumerMember) -> None:
        """What the member has: epochs, state, partitions."""
        before = self.members.get(member.member_id)
        self._set(member)
        self.records.append(records_of.current_record(self.group_id, member))
        if before is not None:
            self._released |= before.owned - member.owned

    def _set(self, member: ConsumerMember) -> None:
        self.members = {**self.members, member.member_id: member}

    def remove(self, member_id: str) -> None:
        """The member is no more, and what it had is free."""
        gone = self.members[member_id]
        self._released |= gone.owned
        self.members = {m: member for m, member in self.members.items() if m != member_id}
        self.target = {m: target for m, target in self.target.items() if m != member_id}
        self.records += [
            records_of.current_tombstone(self.group_id, member_id),
            records_of.target_tombstone(self.group_id, member_id),
            records_of.member_tombstone(self.group_id, member_id),
        ]
        self.drop_unused_regexes()

    def replace(self, old: ConsumerMember, new: ConsumerMember) -> None:
        """A static member under a new id takes the place of the old one, with its target."""
        target = self.target.get(old.member_id, frozenset())
        owned = old.owned
        self.remove(old.member_id)
        self.put(new)
        self.records.append(records_of.current_record(self.group_id, new))
        self._released -= owned
        self.target = {**self.target, new.member_id: target}
        self.records.append(records_of.target_record(self.group_id, new.member_id, target))

    def is_free(self, partition: TopicPartition) -> bool:
        """Whether nobody has the partition, with what was decided so far."""
        return partition in self._released or partition not in self.group.owners

    # -- subscriptions --------------------------------------------------------------------------

    def topics(self) -> frozenset[str]:
        """Everything that members subscribe to."""
        return frozenset().union(*(topics_of(m, self.regexes) for m in self.members.values()))

    def resolve_regexes(self, now_ms: int) -> bool:
        """Match the members' patterns with the topics that there are; whether anything changed."""
        changed = False
        for pattern in {m.topic_regex for m in self.members.values()}:
            if pattern is None:
                continue
            known = self.regexes.get(pattern)
            topics = self._matcher.matching(pattern, self.image.topics)
            if known is not None and known.topics == topics:
                continue
            changed = True
            version = self.image.version
            self.regexes = {**self.regexes, pattern: ResolvedRegex(topics, version)}
            self.records.append(
                records_of.regex_record(self.group_id, pattern, topics, version, now_ms)
            )
        return changed

    def drop_unused_regexes(self) -> None:
        """Forget the patterns that nobody subscribes by any more."""
        used = {member.topic_regex for member in self.members.values()}
        for pattern in self.regexes.keys() - used:
            self.records.append(records_of.regex_tombstone(self.group_id, pattern))
        self.regexes = {p: found for p, found in self.regexes.items() if p in used}

    # -- epochs ---------------------------------------------------------------------------------

    def hash_now(self) -> int:
        """The hash of what members subscribe to, by the metadata of the moment."""
        return metadata_hash(self.topics(), self.image.topics)

    def bump_epoch(self, subscribed_hash: int) -> None:
        """The next group epoch: a new target has to be computed."""
        self.epoch += 1
        self.records.append(
            records_of.group_epoch_record(self.group_id, self.epoch, subscribed_hash)
        )

    def compute_target(self, assignors: tuple[str, ...], now_ms: int) -> None:
        """A new target assignment in the present epoch; records of what changed in it."""
        name = preferred_assignor(self.members.values(), assignors[0])
        topics = self.image.topics
        spec = GroupSpec(
            {
                member_id: MemberSpec(
                    frozenset(
                        topics[topic].topic_id
                        for topic in topics_of(member, self.regexes)
                        if topic in topics
                    ),
                    self.target.get(member_id, frozenset()),
                    member.instance_id,
                )
                for member_id, member in self.members.items()
            },
            partition_counts(self.topics(), topics),
        )
        target = ASSIGNORS[name](spec)
        for member_id, partitions in target.items():
            if self.target.get(member_id) != partitions:
                self.records.append(records_of.target_record(self.group_id, member_id, partitions))
        self.target = target
        self.target_epoch, self.target_since_ms = self.epoch, now_ms
        self.records.append(records_of.target_epoch_record(self.group_id, self.epoch, now_ms))

    def written(self, error_code: int) -> None:
        """Result.on_written: soft state follows when the records are in the log."""
        if not error_code:
            for action in self.then:
                action()


def _wishes(member: ConsumerMember) -> tuple[object, ...]:
    """What assignors depend on."""
    return member.topic_names, member.topic_regex, member.server_assignor
