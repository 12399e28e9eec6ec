"""Members of a classic group in a simulated cluster: they join, sync, beat, commit and fetch
offsets, leave, vanish and come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.cluster.checks import Place
from tests.sim.cluster.clients import ASK_AGAIN, Client, Told
from tests.sim.cluster.coordinators import TRANSACTIONS_PARTITIONS, TRANSACTIONS_TOPIC
from tests.sim.cluster.network import Lost
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tidelog.protocol.schema import Request
from tidelog.types import GROUP_METADATA_TOPIC

if TYPE_CHECKING:
    from tests.sim.cluster.world import World

GROUP = "g"
PLACES = tuple(Place("t", index) for index in range(2)) + tuple(
    Place(TRANSACTIONS_TOPIC, index) for index in range(TRANSACTIONS_PARTITIONS)
)
SESSION_TIMEOUT_MS = 600
REBALANCE_TIMEOUT_MS = 400
BEAT_S = 0.08
LEAVES, VANISHES = 0.01, 0.01
UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED = 25, 22, 27, 79


class Member(Client):
    """One member, one request at a time. `owned`: what it was given; None: it has to join."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.member_id = ""
        self.generation = -1
        self.owned: frozenset[Place] | None = None
        self.is_quiet = False  # it neither leaves nor vanishes

    async def live(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._step()
            except Lost:
                await asyncio.sleep(self.rng.random() * 0.1)

    async def _step(self) -> None:
        if self.owned is None:
            await self._join()
            return
        await asyncio.sleep(self.rng.random() * BEAT_S * 2)
        chance = self.rng.random()
        if chance < LEAVES and not self.is_quiet:
            await self._leave()
        elif chance < LEAVES + VANISHES and not self.is_quiet:
            self._forget()
        elif chance < 0.5 and self.owned:
            await self._commit(self.rng.choice(sorted(self.owned)))
        else:
            await self._beat()

    def _forget(self) -> None:
        self.member_id, self.generation, self.owned = "", -1, None

    async def _ask(self, make: Callable[[], Request], version: int) -> Told:
        return await self.ask_coordinator(GROUP_METADATA_TOPIC, GROUP, make, version)

    async def _refused(self, code: int) -> None:
        if code in (UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION):
            self._forget()
        elif code == REBALANCE_IN_PROGRESS:
            self.owned = None
        else:
            assert code in ASK_AGAIN, code
            self.look_again()
            await asyncio.sleep(self.rng.random() * 0.1)

    # -- membership -------------------------------------------------------------------------------

    async def _join(self) -> None:
        told = await self._ask(
            lambda: JoinGroupRequest(
                group_id=GROUP,
                session_timeout_ms=SESSION_TIMEOUT_MS,
                rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
                member_id=self.member_id,
                protocol_type="consumer",
                protocols=[JoinGroupRequestProtocol(name="range", metadata=b"")],
            ),
            9,
        )
        answer = told.answer
        if answer.error_code == MEMBER_ID_REQUIRED:
            self.member_id = answer.member_id
        elif answer.error_code:
            await self._refused(answer.error_code)
        else:
            self.member_id, self.generation = answer.member_id, answer.generation_id
            leads = answer.leader == answer.member_id and not answer.skip_assignment
            await self._sync([each.member_id for each in answer.members] if leads else [])

    async def _sync(self, members: list[str]) -> None:
        parts = {member: bytes(range(at, len(PLACES), len(members)))
                 for at, member in enumerate(self.rng.sample(members, len(members)))}  # fmt: skip
        told = await self._ask(
            lambda: SyncGroupRequest(
                group_id=GROUP,
                generation_id=self.generation,
                member_id=self.member_id,
                protocol_type="consumer",
                protocol_name="range",
                assignments=[
                    SyncGroupRequestAssignment(member_id=member, assignment=part)
                    for member, part in parts.items()
                ],
            ),
            5,
        )
        if told.answer.error_code:
            await self._refused(told.answer.error_code)
            return
        owned = frozenset(PLACES[at] for at in told.answer.assignment)
        self.world.groups.given(told.reign, self.generation, self.member_id, owned)
        self.owned = owned
        if owned:
            await fetch(self, GROUP, owned)

    async def _beat(self) -> None:
        told = await self._ask(
            lambda: HeartbeatRequest(
                group_id=GROUP, generation_id=self.generation, member_id=self.member_id
            ),
            4,
        )
        if told.answer.error_code:
            await self._refused(told.answer.error_code)

    async def _leave(self) -> None:
        member_id = self.member_id
        self._forget()
        await self._ask(
            lambda: LeaveGroupRequest(
                group_id=GROUP, members=[MemberIdentity(member_id=member_id)]
            ),
            5,
        )

    # -- offsets ----------------------------------------------------------------------------------

    async def _commit(self, place: Place) -> None:
        offsets = self.world.offsets
        value = offsets.next_value(GROUP, place)
        told = await self._ask(
            lambda: OffsetCommitRequest(
                group_id=GROUP,
                generation_id_or_member_epoch=self.generation,
                member_id=self.member_id,
                topics=[
                    OffsetCommitRequestTopic(
                        name=place.topic,
                        partitions=[
                            OffsetCommitRequestPartition(
                                partition_index=place.index,
                                committed_offset=value,
                                committed_metadata="",
                            )
                        ],
                    )
                ],
            ),
            8,
        )
        code = told.answer.topics[0].partitions[0].error_code
        if code:
            await self._refused(code)
        else:
            offsets.acknowledged(GROUP, place, told.reign, value)


async def fetch(client: Client, group: str, places: frozenset[Place]) -> dict[Place, int] | None:
    """The group's offsets; None: no answer. Raises Lost."""
    offsets = client.world.offsets
    known = {place: offsets.known(group, place) for place in places}
    told = await client.ask_coordinator(
        GROUP_METADATA_TOPIC,
        group,
        lambda: OffsetFetchRequest(
            groups=[
                OffsetFetchRequestGroup(
                    group_id=group,
                    topics=[
                        OffsetFetchRequestTopics(name=place.topic, partition_indexes=[place.index])
                        for place in sorted(places)
                    ],
                )
            ]
        ),
        8,
    )
    found: Any = told.answer.groups[0]
    if found.error_code:
        assert found.error_code in ASK_AGAIN, found.error_code
        client.look_again()
        return None
    values = {
        Place(topic.name, one.partition_index): one.committed_offset
        for topic in found.topics
        for one in topic.partitions
    }
    for place, value in values.items():
        offsets.told(group, place, told.reign, value, known[place])
    return values
