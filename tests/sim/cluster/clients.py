"""What all clients of simulated coordinators do: find the coordinator, ask it, give up.

A client has one connection. When it has given up a request, the connection is another one, and
what is still on its way over the old one does not arrive, unless the client is `hostile`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.sim.cluster.network import Lost
from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.protocol.schema import Request

if TYPE_CHECKING:
    from tests.sim.cluster.nodes import SimNode
    from tests.sim.cluster.world import World

CLIENT_TIMEOUT_S = 1.2
#: Codes after which a client asks again, perhaps somebody else.
ASK_AGAIN = frozenset((3, 5, 6, 7, 13, 14, 15, 16, 19, 20, 51, 56))


class Told(NamedTuple):
    """An answer, and the leader epoch in which it was given by a coordinator (-1: by none)."""

    answer: Any
    reign: int
    is_current: bool  # the controller had it for the leader when it answered


class Client:
    """One client of a coordinator's topic, or of partitions."""

    def __init__(self, world: World, name: str, *, hostile: bool = False) -> None:
        self.world = world
        self.rng = world.rng
        self.name = name
        self._hostile = hostile
        self._connection = object()
        self._leaders: dict[tuple[str, int], int] = {}

    async def ask_coordinator(
        self, topic: str, key: str, make: Callable[[], Request], version: int
    ) -> Told:
        """Ask the coordinator of the key. `make` gives the message, which is its handler's then.
        Raises Lost.
        """
        index = coordinator_partition(key, self.world.coordinator_partitions)

        async def serve(node: SimNode) -> Told:
            reign = node.coordinators.reign(topic, index)
            answer = await node.coordinators.answer(make(), version)
            return Told(answer, reign, self.world.leader(topic, index) == node.node_id)

        told: Told = await self.ask_leader(topic, index, serve)
        return told

    async def ask_leader(
        self, topic: str, index: int, serve: Callable[[SimNode], Awaitable[Any]]
    ) -> Any:
        """Ask whom it takes for the leader. Raises Lost."""
        place = (topic, index)
        if place not in self._leaders:
            self._leaders[place] = self.world.leader_known(topic, index)
        connection = self._connection

        async def there(node: SimNode) -> Any:
            if self._connection is not connection and not self._hostile:
                raise Lost
            return await serve(node)

        try:
            return await self.world.ask_node(
                self.name, self._leaders[place], there, CLIENT_TIMEOUT_S
            )
        except Lost:
            self._connection = object()
            self._leaders.clear()
            raise

    def look_again(self) -> None:
        """Its metadata is old."""
        self._leaders.clear()
