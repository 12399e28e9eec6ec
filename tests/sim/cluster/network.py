"""The network of a simulated cluster: messages between nodes, controller and clients, each on its
own way, late, lost, or cut off in one direction.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

Place = int | str  # a node's id, "controller", or a client's name


class Lost(Exception):
    """No answer came in time; the request may have arrived or not."""


class Network:
    """Requests and answers. `cut`: pairs (source, target) whose messages do not arrive."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.cut: set[tuple[Place, Place]] = set()
        self.loss = 0.0
        self.latency_s = 0.002

    def delay_s(self) -> float:
        """Mostly short, now and then long."""
        if self._rng.random() < 0.02:
            return self._rng.random() * 0.3
        return self._rng.random() * self.latency_s

    def arrives(self, source: Place, target: Place) -> bool:
        return (source, target) not in self.cut and self._rng.random() >= self.loss

    async def ask(
        self,
        source: Place,
        target: Place,
        serve: Callable[[], Awaitable[Any]],
        timeout_s: float,
    ) -> Any:
        """What `serve`, run at the target, answers. Raises Lost."""

        async def there_and_back() -> Any:
            await asyncio.sleep(self.delay_s())
            if not self.arrives(source, target):
                await asyncio.sleep(timeout_s)
            answer = await serve()
            await asyncio.sleep(self.delay_s())
            if not self.arrives(target, source):
                await asyncio.sleep(timeout_s)
            return answer

        # The request goes on at its target when nobody waits for it any more.
        task = asyncio.ensure_future(there_and_back())
        task.add_done_callback(_look)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Lost from None


def _look(task: asyncio.Task[Any]) -> None:
    """Its exception is the asker's, if there still is one."""
    if not task.cancelled():
        task.exception()
