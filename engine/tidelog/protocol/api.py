"""Every API of Kafka 4.3 that is spoken on a broker's port: key, versions, listener.

This is the table of record: message tables, headers and ApiVersions take their versions from it.
Pure values; belongs to no task, must never import a message table.

Left out: keys 4-7 (gone in Kafka 4.0) and what only KRaft controllers answer (52-54, 56, 58, 59,
62, 63, 67, 70, 73, 82); Tidelog's controller has its own channel.
"""

from enum import Flag, IntEnum
from typing import Final, Self

from tidelog.protocol.versions import Versions


class Listener(Flag):
    """On which kind of port Kafka answers an API."""

    BROKER = 1
    CONTROLLER = 2
    BOTH = 3


class ApiKey(IntEnum):
    """An API's number; its row says which versions there are, and from which on they are flexible.

    versions: those that are parsed. `advertised` differs where Kafka's ApiVersions answer does.
    """

    versions: Versions
    flexible: Versions
    listener: Listener

    # The defaults are never used; they let a type checker accept the look-up ApiKey(3).
    def __new__(
        cls,
        value: int,
        versions: str = "none",
        flexible: str = "none",
        listener: Listener = Listener.BROKER,
    ) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.versions = Versions.parse(versions)
        member.flexible = Versions.parse(flexible)
        member.listener = listener
        return member

    PRODUCE = 0, "3-13", "9+", Listener.BROKER
    FETCH = 1, "4-18", "12+", Listener.BOTH
    LIST_OFFSETS = 2, "1-11", "6+", Listener.BROKER
    METADATA = 3, "0-13", "9+", Listener.BROKER
    OFFSET_COMMIT = 8, "2-10", "8+", Listener.BROKER
    OFFSET_FETCH = 9, "1-10", "6+", Listener.BROKER
    FIND_COORDINATOR = 10, "0-6", "3+", Listener.BROKER
    JOIN_GROUP = 11, "0-9", "6+", Listener.BROKER
    HEARTBEAT = 12, "0-4", "4+", Listener.BROKER
    LEAVE_GROUP = 13, "0-5", "4+", Listener.BROKER
    SYNC_GROUP = 14, "0-5", "4+", Listener.BROKER
    DESCRIBE_GROUPS = 15, "0-6", "5+", Listener.BROKER
    LIST_GROUPS = 16, "0-5", "3+", Listener.BROKER
    SASL_HANDSHAKE = 17, "0-1", "none", Listener.BOTH
    API_VERSIONS = 18, "0-4", "3+", Listener.BOTH
    CREATE_TOPICS = 19, "2-7", "5+", Listener.BOTH
    DELETE_TOPICS = 20, "1-6", "4+", Listener.BOTH
    DELETE_RECORDS = 21, "0-2", "2+", Listener.BROKER
    INIT_PRODUCER_ID = 22, "0-6", "2+", Listener.BROKER
    OFFSET_FOR_LEADER_EPOCH = 23, "2-4", "4+", Listener.BROKER
    ADD_PARTITIONS_TO_TXN = 24, "0-5", "3+", Listener.BROKER
    ADD_OFFSETS_TO_TXN = 25, "0-4", "3+", Listener.BROKER
    END_TXN = 26, "0-5", "3+", Listener.BROKER
    WRITE_TXN_MARKERS = 27, "1-2", "1+", Listener.BROKER
    TXN_OFFSET_COMMIT = 28, "0-5", "3+", Listener.BROKER
    DESCRIBE_ACLS = 29, "1-3", "2+", Listener.BOTH
    CREATE_ACLS = 30, "1-3", "2+", Listener.BOTH
    DELETE_ACLS = 31, "1-3", "2+", Listener.BOTH
    DESCRIBE_CONFIGS = 32, "1-4", "4+", Listener.BOTH
    ALTER_CONFIGS = 33, "0-2", "2+", Listener.BOTH
    ALTER_REPLICA_LOG_DIRS = 34, "1-2", "2+", Listener.BROKER
    DESCRIBE_LOG_DIRS = 35, "1-5", "2+", Listener.BROKER
    SASL_AUTHENTICATE = 36, "0-2", "2+", Listener.BOTH
    CREATE_PARTITIONS = 37, "0-3", "2+", Listener.BOTH
    CREATE_DELEGATION_TOKEN = 38, "1-3", "2+", Listener.BOTH
    RENEW_DELEGATION_TOKEN = 39, "1-2", "2+", Listener.BOTH
    EXPIRE_DELEGATION_TOKEN = 40, "1-2", "2+", Listener.BOTH
    DESCRIBE_DELEGATION_TOKEN = 41, "1-3", "2+", Listener.BOTH
    DELETE_GROUPS = 42, "0-2", "2+", Listener.BROKER
    ELECT_LEADERS = 43, "0-2", "2+", Listener.BOTH
    INCREMENTAL_ALTER_CONFIGS = 44, "0-1", "1+", Listener.BOTH
    ALTER_PARTITION_REASSIGNMENTS = 45, "0-1", "0+", Listener.BOTH
    LIST_PARTITION_REASSIGNMENTS = 46, "0", "0+", Listener.BOTH
    OFFSET_DELETE = 47, "0", "none", Listener.BROKER
    DESCRIBE_CLIENT_QUOTAS = 48, "0-1", "1+", Listener.BROKER
    ALTER_CLIENT_QUOTAS = 49, "0-1", "1+", Listener.BOTH
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50, "0", "0+", Listener.BOTH
    ALTER_USER_SCRAM_CREDENTIALS = 51, "0", "0+", Listener.BOTH
    DESCRIBE_QUORUM = 55, "0-2", "0+", Listener.BOTH
    UPDATE_FEATURES = 57, "0-2", "0+", Listener.BOTH
    DESCRIBE_CLUSTER = 60, "0-2", "0+", Listener.BOTH
    DESCRIBE_PRODUCERS = 61, "0", "0+", Listener.BROKER
    UNREGISTER_BROKER = 64, "0", "0+", Listener.BOTH
    DESCRIBE_TRANSACTIONS = 65, "0", "0+", Listener.BROKER
    LIST_TRANSACTIONS = 66, "0-2", "0+", Listener.BROKER
    CONSUMER_GROUP_HEARTBEAT = 68, "0-1", "0+", Listener.BROKER
    CONSUMER_GROUP_DESCRIBE = 69, "0-1", "0+", Listener.BROKER
    GET_TELEMETRY_SUBSCRIPTIONS = 71, "0", "0+", Listener.BROKER
    PUSH_TELEMETRY = 72, "0", "0+", Listener.BROKER
    LIST_CONFIG_RESOURCES = 74, "0-1", "0+", Listener.BROKER
    DESCRIBE_TOPIC_PARTITIONS = 75, "0", "0+", Listener.BROKER
    SHARE_GROUP_HEARTBEAT = 76, "1", "0+", Listener.BROKER
    SHARE_GROUP_DESCRIBE = 77, "1", "0+", Listener.BROKER
    SHARE_FETCH = 78, "1-2", "0+", Listener.BROKER
    SHARE_ACKNOWLEDGE = 79, "1-2", "0+", Listener.BROKER
    ADD_RAFT_VOTER = 80, "0-1", "0+", Listener.BOTH
    REMOVE_RAFT_VOTER = 81, "0", "0+", Listener.BOTH
    INITIALIZE_SHARE_GROUP_STATE = 83, "0", "0+", Listener.BROKER
    READ_SHARE_GROUP_STATE = 84, "0", "0+", Listener.BROKER
    WRITE_SHARE_GROUP_STATE = 85, "0-1", "0+", Listener.BROKER
    DELETE_SHARE_GROUP_STATE = 86, "0", "0+", Listener.BROKER
    READ_SHARE_GROUP_STATE_SUMMARY = 87, "0-1", "0+", Listener.BROKER
    STREAMS_GROUP_HEARTBEAT = 88, "0", "0+", Listener.BROKER
    STREAMS_GROUP_DESCRIBE = 89, "0", "0+", Listener.BROKER
    DESCRIBE_SHARE_GROUP_OFFSETS = 90, "0-1", "0+", Listener.BROKER
    ALTER_SHARE_GROUP_OFFSETS = 91, "0", "0+", Listener.BROKER
    DELETE_SHARE_GROUP_OFFSETS = 92, "0", "0+", Listener.BROKER

    @property
    def advertised(self) -> Versions:
        """The versions that ApiVersions lists."""
        return ADVERTISED.get(self, self.versions)

    def is_flexible(self, version: int) -> bool:
        """Whether messages of this version have compact lengths and tagged fields (KIP-482)."""
        return self.flexible.has(version)

    def request_header_version(self, version: int) -> int:
        """1 or 2. Defined for versions beyond the supported ones too: their header is readable."""
        return 2 if self.flexible.has(version) else 1

    def response_header_version(self, version: int) -> int:
        """0 or 1. ApiVersions always has 0: its client does not know yet what the broker speaks."""
        return 1 if self.flexible.has(version) and self is not ApiKey.API_VERSIONS else 0


ADVERTISED: Final = {
    # Versions 0-2 are refused (magic 0 and 1 are gone), but librdkafka before 2.12 reads a minimum
    # above 0 as "no compression" (KAFKA-18659).
    ApiKey.PRODUCE: Versions(0, 13),
    # Version 6 is KIP-939's two-phase commit: parsed, but not stable in Kafka 4.3.
    ApiKey.INIT_PRODUCER_ID: Versions(0, 5),
}
