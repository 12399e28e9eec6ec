"""All clients of coordinators in a run: a group's members, transactional ids in use; and what has
to have become of them when everything has healed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.sim.cluster.checks import Broken, Place
from tests.sim.cluster.clients import Client
from tests.sim.cluster.members import GROUP, PLACES, Member, fetch
from tests.sim.cluster.network import Lost
from tests.sim.cluster.producers import OFFSETS_PLACE, group_of, use
from tests.sim.cluster.transaction_checks import (
    check_offset,
    check_transactions,
    open_transactions,
)

if TYPE_CHECKING:
    from tests.sim.cluster.world import World

MEMBERS = 3
TIDS = ("a", "b")
SETTLE_S = 20.0
LOOK_S = 0.05


class Clients:
    """Of one run. Producers end at `until`, members when all is settled. watched: beside them
    somebody asks for the group's offsets all the time, as tools do that tell how far it is behind.
    """

    def __init__(self, world: World, until: float, *, watched: bool = False) -> None:
        self._world = world
        self._members = [Member(world, f"m{n}") for n in range(MEMBERS)]
        self._living = [asyncio.ensure_future(member.live()) for member in self._members]
        if watched:
            self._living.append(asyncio.ensure_future(self._watch()))
        self._producing = asyncio.gather(*(use(world, tid, until) for tid in TIDS))

    async def settle(self) -> None:
        """Without faults the group is stable and no transaction open, within a bounded time."""
        await self._producing
        deadline = self._world.loop.now + SETTLE_S
        for member in self._members:
            member.is_quiet = True
        while True:
            problems = [*self._unstable(), *open_transactions(self._world)]
            if not problems:
                break
            if self._world.loop.now > deadline:
                raise Broken(f"not settled: {problems}")
            for task in self._living:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)
        for task in self._living:
            task.cancel()
        await asyncio.wait(self._living)

    async def _watch(self) -> None:
        client = Client(self._world, "watcher")
        while True:
            await asyncio.sleep(client.rng.random() * LOOK_S)
            with contextlib.suppress(Lost):
                await fetch(client, GROUP, frozenset(PLACES))

    def _unstable(self) -> list[str]:
        members = self._members
        owned = [place for member in members for place in member.owned or ()]
        if sorted(owned) == sorted(PLACES) and len({each.generation for each in members}) == 1:
            return []
        return [f"{each.name}: {each.generation} {each.owned}" for each in members]

    async def check(self) -> None:
        """What was acknowledged is there."""
        check_transactions(self._world)
        await self._fetch(GROUP, frozenset(PLACES))
        for tid in TIDS:
            found = await self._fetch(group_of(tid), frozenset((OFFSETS_PLACE,)))
            check_offset(self._world, tid, found[OFFSETS_PLACE])

    async def _fetch(self, group: str, places: frozenset[Place]) -> dict[Place, int]:
        client = Client(self._world, "reader")
        deadline = self._world.loop.now + SETTLE_S
        while True:
            assert self._world.loop.now < deadline, f"no offsets of {group}"
            try:
                found = await fetch(client, group, places)
            except Lost:
                continue
            if found is not None:
                return found
            await asyncio.sleep(0.05)
