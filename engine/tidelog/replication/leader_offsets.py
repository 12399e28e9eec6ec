"""Where a partition's log begins and ends on its leader, asked by ListOffsets as a replica.

Belongs to the worker's loop task. A follower needs it when the leader has nothing at its end, which
is rare; the question goes over the connection that is there for such requests (`peer_client`).
"""

from __future__ import annotations

import asyncio
from typing import Final

from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tidelog.replication.followed import FollowingPartition
from tidelog.replication.peer_client import PeerClient

_VERSION: Final = 7
_LATEST: Final = -1
_EARLIEST: Final = -2


class AskedOffsets:
    """Callable as `followed.LeaderOffsets`."""

    def __init__(self, node_id: int, peers: PeerClient) -> None:
        self._node_id = node_id
        self._peers = peers

    async def __call__(self, partition: FollowingPartition) -> tuple[int, int]:
        """(log start, log end). Raises KafkaError, PeerUnavailableError."""
        start, end = await asyncio.gather(
            self._ask(partition, _EARLIEST), self._ask(partition, _LATEST)
        )
        return start, end

    async def _ask(self, partition: FollowingPartition, place: int) -> int:
        request = ListOffsetsRequest(
            replica_id=self._node_id,
            topics=[
                ListOffsetsTopic(
                    name=partition.topic.decode(),
                    partitions=[
                        ListOffsetsPartition(
                            partition_index=partition.index,
                            current_leader_epoch=partition.leader_epoch,
                            timestamp=place,
                        )
                    ],
                )
            ],
        )
        answer = await self._peers.request(partition.leader_id, request, _VERSION)
        if not isinstance(answer, ListOffsetsResponse):
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
        for topic in answer.topics:
            for found in topic.partitions:
                if found.error_code:
                    raise KafkaError(found.error_code)
                return found.offset
        raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR)
