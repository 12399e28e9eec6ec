"""Hands out producer ids from blocks that the controller gave to this node.

Belongs to the worker's loop task. A block is committed by the controller before it is used, so ids
are never given twice; what is left of a block at a crash is skipped. It must never make up an id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

#: Asks for the next block: the ids in it. Raises KafkaError when there is none to be had now.
AllocateBlock = Callable[[], Awaitable[range]]


class ProducerIdManager:
    """Ids one by one; asks for a block when the last one is used up, once for all that wait."""

    def __init__(self, allocate: AllocateBlock) -> None:
        self._allocate = allocate
        self._block = range(0)
        self._allocation: asyncio.Task[None] | None = None

    async def next(self) -> int:
        """The next producer id. Raises what allocating a block raises."""
        while not self._block:
            if self._allocation is None:
                self._allocation = asyncio.create_task(self._fill())
                self._allocation.add_done_callback(self._forget)
            # Shielded: the client that asked first may go away while others wait for the same
            # block.
            await asyncio.shield(self._allocation)
        producer_id = self._block[0]
        self._block = self._block[1:]
        return producer_id

    async def _fill(self) -> None:
        self._block = await self._allocate()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._allocation = None
        if not task.cancelled():
            task.exception()  # Whoever waited got it; without waiters it is of no interest.
