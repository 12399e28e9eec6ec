"""RemoveRaftVoter (key 81): removes a voter from the metadata quorum (KIP-853)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, int16, int32, string, uuid


class RemoveRaftVoterRequest(Request, api=ApiKey.REMOVE_RAFT_VOTER):
    cluster_id: str | None = string(nullable="0+")
    voter_id: int = int32()
    voter_directory_id: bytes = uuid()


class RemoveRaftVoterResponse(Response, api=ApiKey.REMOVE_RAFT_VOTER):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+", ignorable=True)
