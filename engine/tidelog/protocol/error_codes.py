"""Kafka's error codes: number, name, whether a client may try again, and what it means.

Codes are Kafka 4.3's; the texts are ours, and go into error_message where an API has one and
nothing more precise is known. Pure values; belongs to no task.
"""

from enum import IntEnum
from typing import Self


class ErrorCode(IntEnum):
    """An int, and may be given to any error_code field. `retriable` is what Java clients go by."""

    retriable: bool
    text: str

    # The defaults are never used; they let a type checker accept the look-up ErrorCode(3).
    def __new__(cls, value: int, retriable: bool = False, text: str = "") -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.retriable = retriable
        member.text = text
        return member

    UNKNOWN_SERVER_ERROR = -1, False, "Something went wrong here that has no code of its own."
    NONE = 0, False, "All is well."
    OFFSET_OUT_OF_RANGE = (
        1,
        False,
        "The log has no such offset: it is below the log start or beyond the log end.",
    )
    CORRUPT_MESSAGE = (
        2,
        True,
        "The batch is damaged (checksum, length, framing), or lacks a key in a compacted topic.",
    )
    UNKNOWN_TOPIC_OR_PARTITION = 3, True, "This node hosts no such partition."
    INVALID_FETCH_SIZE = 4, False, "The fetch asks for an impossible number of bytes."
    LEADER_NOT_AVAILABLE = 5, True, "The partition has no leader at the moment."
    NOT_LEADER_OR_FOLLOWER = (
        6,
        True,
        "This node is not the partition's leader, or holds no replica of it.",
    )
    REQUEST_TIMED_OUT = 7, True, "The request was not done in the time that it was given."
    BROKER_NOT_AVAILABLE = 8, False, "The node is not there."
    REPLICA_NOT_AVAILABLE = 9, True, "The replica is not available on this node."
    MESSAGE_TOO_LARGE = 10, False, "A batch is larger than max.message.bytes allows."
    STALE_CONTROLLER_EPOCH = 11, False, "A newer controller has taken over."
    OFFSET_METADATA_TOO_LARGE = (
        12,
        False,
        "The metadata string of a committed offset is longer than offset.metadata.max.bytes.",
    )
    NETWORK_EXCEPTION = 13, True, "The connection broke before the answer came."
    COORDINATOR_LOAD_IN_PROGRESS = 14, True, "The coordinator is still reading its state."
    COORDINATOR_NOT_AVAILABLE = 15, True, "There is no coordinator at the moment."
    NOT_COORDINATOR = 16, True, "Another node coordinates this group or transactional id."
    INVALID_TOPIC_EXCEPTION = (
        17,
        False,
        "The topic's name is invalid, or the topic must not be used like this.",
    )
    RECORD_LIST_TOO_LARGE = 18, False, "The batch does not fit into a log segment."
    NOT_ENOUGH_REPLICAS = (
        19,
        True,
        "Fewer replicas are in sync than min.insync.replicas asks for; nothing was written.",
    )
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = (
        20,
        True,
        "The batch was written, but then too few replicas were in sync to confirm it.",
    )
    INVALID_REQUIRED_ACKS = 21, False, "acks is none of -1, 0 and 1."
    ILLEGAL_GENERATION = 22, False, "The generation is not the group's current one."
    INCONSISTENT_GROUP_PROTOCOL = (
        23,
        False,
        "The member's protocols have nothing in common with those of the group.",
    )
    INVALID_GROUP_ID = 24, False, "No group can have this id."
    UNKNOWN_MEMBER_ID = 25, False, "The group has no such member."
    INVALID_SESSION_TIMEOUT = 26, False, "The session timeout lies outside the allowed range."
    REBALANCE_IN_PROGRESS = 27, False, "The group is rebalancing; join again."
    INVALID_COMMIT_OFFSET_SIZE = (
        28,
        False,
        "The offsets to commit take more room than a record may have.",
    )
    TOPIC_AUTHORIZATION_FAILED = 29, False, "The principal may not do this to the topic."
    GROUP_AUTHORIZATION_FAILED = 30, False, "The principal may not do this to the group."
    CLUSTER_AUTHORIZATION_FAILED = 31, False, "The principal may not do this to the cluster."
    INVALID_TIMESTAMP = 32, False, "A record's timestamp lies too far from the broker's clock."
    UNSUPPORTED_SASL_MECHANISM = 33, False, "The broker has no such SASL mechanism."
    ILLEGAL_SASL_STATE = (
        34,
        False,
        "The SASL exchange is in a state in which this request is out of place.",
    )
    UNSUPPORTED_VERSION = 35, False, "The broker does not speak this version of the API."
    TOPIC_ALREADY_EXISTS = 36, False, "A topic of this name exists already."
    INVALID_PARTITIONS = 37, False, "The number of partitions is invalid."
    INVALID_REPLICATION_FACTOR = (
        38,
        False,
        "There are too few nodes for this replication factor, or it is below 1.",
    )
    INVALID_REPLICA_ASSIGNMENT = (
        39,
        False,
        "The nodes given for the replicas do not make a valid assignment.",
    )
    INVALID_CONFIG = 40, False, "A config is unknown, or its value is invalid."
    NOT_CONTROLLER = 41, True, "This node is not the controller."
    INVALID_REQUEST = 42, False, "The request contradicts itself or the protocol."
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, False, "The records' format is too old for this request."
    POLICY_VIOLATION = 44, False, "A policy of the cluster forbids the request."
    OUT_OF_ORDER_SEQUENCE_NUMBER = (
        45,
        False,
        "The batch's sequence number does not follow the producer's last one.",
    )
    DUPLICATE_SEQUENCE_NUMBER = (
        46,
        False,
        "The batch's sequence number was used before, longer ago than duplicates are remembered.",
    )
    INVALID_PRODUCER_EPOCH = 47, False, "The producer's epoch is older than the one known here."
    INVALID_TXN_STATE = 48, False, "The transaction is in a state that does not allow this."
    INVALID_PRODUCER_ID_MAPPING = 49, False, "The transactional id belongs to another producer id."
    INVALID_TRANSACTION_TIMEOUT = (
        50,
        False,
        "The transaction timeout is higher than transaction.max.timeout.ms.",
    )
    CONCURRENT_TRANSACTIONS = 51, True, "Another change of this transaction is still under way."
    TRANSACTION_COORDINATOR_FENCED = (
        52,
        False,
        "The transaction marker comes from a coordinator that was replaced.",
    )
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = (
        53,
        False,
        "The principal may not use this transactional id.",
    )
    SECURITY_DISABLED = 54, False, "There is no authorizer, so there are no ACLs."
    OPERATION_NOT_ATTEMPTED = (
        55,
        False,
        "This part was not tried, since another part of the request failed.",
    )
    KAFKA_STORAGE_ERROR = 56, True, "A disk failed; the log is offline."
    LOG_DIR_NOT_FOUND = 57, False, "The broker has no such log directory."
    SASL_AUTHENTICATION_FAILED = 58, False, "The credentials were not accepted."
    UNKNOWN_PRODUCER_ID = (
        59,
        False,
        "The producer's state is gone, with the last of its records here.",
    )
    REASSIGNMENT_IN_PROGRESS = 60, False, "The partition is being reassigned."
    DELEGATION_TOKEN_AUTH_DISABLED = 61, False, "Delegation tokens are switched off."
    DELEGATION_TOKEN_NOT_FOUND = 62, False, "There is no such delegation token."
    DELEGATION_TOKEN_OWNER_MISMATCH = (
        63,
        False,
        "The principal neither owns the delegation token nor may renew it.",
    )
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = (
        64,
        False,
        "Delegation tokens cannot be asked for on this kind of connection.",
    )
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = (
        65,
        False,
        "The principal may not do this to delegation tokens.",
    )
    DELEGATION_TOKEN_EXPIRED = 66, False, "The delegation token's time is over."
    INVALID_PRINCIPAL_TYPE = 67, False, "There is no such type of principal."
    NON_EMPTY_GROUP = 68, False, "The group still has members."
    GROUP_ID_NOT_FOUND = 69, False, "There is no such group."
    FETCH_SESSION_ID_NOT_FOUND = (
        70,
        True,
        "There is no such fetch session (any more); begin a new one.",
    )
    INVALID_FETCH_SESSION_EPOCH = 71, True, "The epoch is not the next one of the fetch session."
    LISTENER_NOT_FOUND = (
        72,
        True,
        "The leader has no listener of the name on which the question came.",
    )
    TOPIC_DELETION_DISABLED = 73, False, "delete.topic.enable is off."
    FENCED_LEADER_EPOCH = 74, True, "The client knows an outdated leader epoch."
    UNKNOWN_LEADER_EPOCH = (
        75,
        True,
        "The client knows a leader epoch that has not arrived here yet.",
    )
    UNSUPPORTED_COMPRESSION_TYPE = (
        76,
        False,
        "The client cannot read the compression of these records.",
    )
    STALE_BROKER_EPOCH = 77, False, "The broker has registered again under a newer epoch."
    OFFSET_NOT_AVAILABLE = (
        78,
        True,
        "A new leader does not know yet how far the partition is committed.",
    )
    MEMBER_ID_REQUIRED = 79, False, "Join again with the member id in this answer."
    PREFERRED_LEADER_NOT_AVAILABLE = (
        80,
        True,
        "The replica that should lead is offline or out of sync.",
    )
    GROUP_MAX_SIZE_REACHED = 81, False, "The group is full (group.max.size)."
    FENCED_INSTANCE_ID = 82, False, "Another member has taken over this group.instance.id."
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, True, "None of the replicas that could lead is available."
    ELECTION_NOT_NEEDED = (
        84,
        True,
        "The partition already has the leader that the election would give it.",
    )
    NO_REASSIGNMENT_IN_PROGRESS = 85, False, "The partition is not being reassigned."
    GROUP_SUBSCRIBED_TO_TOPIC = (
        86,
        False,
        "The group still subscribes to the topic, so its offsets stay.",
    )
    INVALID_RECORD = 87, False, "A record breaks a rule of the topic."
    UNSTABLE_OFFSET_COMMIT = 88, True, "Offsets of an open transaction are not decided yet."
    THROTTLING_QUOTA_EXCEEDED = 89, True, "A quota is used up; try again after throttle_time_ms."
    PRODUCER_FENCED = 90, False, "A newer producer has taken over this transactional id."
    RESOURCE_NOT_FOUND = 91, False, "The resource does not exist."
    DUPLICATE_RESOURCE = 92, False, "The request names a resource twice."
    UNACCEPTABLE_CREDENTIAL = 93, False, "The credential does not meet the requirements."
    INCONSISTENT_VOTER_SET = 94, False, "Sender and receiver disagree about the set of voters."
    INVALID_UPDATE_VERSION = 95, False, "The feature cannot be set to this version."
    FEATURE_UPDATE_FAILED = 96, False, "The feature was not updated because of a failure here."
    PRINCIPAL_DESERIALIZATION_FAILURE = (
        97,
        False,
        "The principal of a forwarded request could not be read.",
    )
    SNAPSHOT_NOT_FOUND = 98, False, "There is no such snapshot."
    POSITION_OUT_OF_RANGE = 99, False, "The position lies outside the snapshot."
    UNKNOWN_TOPIC_ID = 100, True, "This node hosts no topic of this id."
    DUPLICATE_BROKER_REGISTRATION = 101, False, "Another broker uses this node id."
    BROKER_ID_NOT_REGISTERED = 102, False, "No broker of this id is registered."
    INCONSISTENT_TOPIC_ID = 103, True, "The log belongs to another topic of the same name."
    INCONSISTENT_CLUSTER_ID = 104, False, "The request is meant for another cluster."
    TRANSACTIONAL_ID_NOT_FOUND = 105, False, "There is no such transactional id."
    FETCH_SESSION_TOPIC_ID_ERROR = 106, True, "The fetch session mixes topic ids with names."
    INELIGIBLE_REPLICA = 107, False, "The new ISR holds a replica that may not be in it."
    NEW_LEADER_ELECTED = 108, False, "The change was made, and with it the leader changed."
    OFFSET_MOVED_TO_TIERED_STORAGE = (
        109,
        False,
        "The offset is no longer here but in tiered storage.",
    )
    FENCED_MEMBER_EPOCH = (
        110,
        False,
        "The member's epoch is outdated: give up all partitions and join again.",
    )
    UNRELEASED_INSTANCE_ID = (
        111,
        False,
        "Another member still holds this instance id; it must leave first.",
    )
    UNSUPPORTED_ASSIGNOR = 112, False, "The group has no such assignor."
    STALE_MEMBER_EPOCH = (
        113,
        False,
        "The member's epoch is outdated; try again after the next heartbeat's answer.",
    )
    MISMATCHED_ENDPOINT_TYPE = 114, False, "The request reached the wrong kind of listener."
    UNSUPPORTED_ENDPOINT_TYPE = 115, False, "This kind of listener does not exist here."
    UNKNOWN_CONTROLLER_ID = 116, False, "There is no controller of this id."
    UNKNOWN_SUBSCRIPTION_ID = 117, False, "The telemetry subscription is unknown or outdated."
    TELEMETRY_TOO_LARGE = 118, False, "The telemetry is larger than telemetry.max.bytes."
    INVALID_REGISTRATION = 119, False, "The broker's registration is invalid."
    TRANSACTION_ABORTABLE = (
        120,
        False,
        "The transaction cannot go on; abort it and the producer can.",
    )
    INVALID_RECORD_STATE = (
        121,
        False,
        "The record is not in a state in which it could be acknowledged like this.",
    )
    SHARE_SESSION_NOT_FOUND = (
        122,
        True,
        "There is no such share session (any more); begin a new one.",
    )
    INVALID_SHARE_SESSION_EPOCH = 123, True, "The epoch is not the next one of the share session."
    FENCED_STATE_EPOCH = 124, False, "The epoch of the share group's state does not match."
    INVALID_VOTER_KEY = 125, False, "The voter's key does not belong to this replica."
    DUPLICATE_VOTER = 126, False, "There is such a voter already."
    VOTER_NOT_FOUND = 127, False, "There is no such voter."
    INVALID_REGULAR_EXPRESSION = 128, False, "The subscription's pattern cannot be compiled."
    REBOOTSTRAP_REQUIRED = (
        129,
        False,
        "The client's metadata is hopelessly old; start from the bootstrap servers.",
    )
    STREAMS_INVALID_TOPOLOGY = (
        130,
        False,
        "The topology that the streams member sent makes no sense.",
    )
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, False, "The epoch of the streams topology is invalid."
    STREAMS_TOPOLOGY_FENCED = 132, False, "The streams topology is older than the group's."
    SHARE_SESSION_LIMIT_REACHED = 133, True, "No more share sessions can be opened."
