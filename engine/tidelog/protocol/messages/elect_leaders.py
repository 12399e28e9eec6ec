"""ElectLeaders (key 43): starts leader elections.

v1  election_type: 0 preferred, 1 unclean (KIP-460)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    INT32,
    Request,
    Response,
    Struct,
    array,
    int8,
    int16,
    int32,
    string,
)


class TopicPartitions(Struct):
    topic: str = string()
    partitions: list[int] = array(INT32)


class ElectLeadersRequest(Request, api=ApiKey.ELECT_LEADERS):
    """topic_partitions None means all."""

    election_type: int = int8("1+")
    topic_partitions: list[TopicPartitions] | None = array(TopicPartitions, nullable="0+")
    timeout_ms: int = int32(default=60000)


class PartitionResult(Struct):
    partition_id: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")


class ReplicaElectionResult(Struct):
    topic: str = string()
    partition_result: list[PartitionResult] = array(PartitionResult)


class ElectLeadersResponse(Response, api=ApiKey.ELECT_LEADERS):
    throttle_time_ms: int = int32()
    error_code: int = int16("1+")
    replica_election_results: list[ReplicaElectionResult] = array(ReplicaElectionResult)
