"""Producer ids: each once, blocks on demand, failures passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tidelog.coordinator.producer_ids import ProducerIdManager
from tidelog.errors import KafkaError


class Blocks:
    """Blocks of two ids; an exception in the list is raised instead."""

    def __init__(self, *blocks: range | Exception) -> None:
        self._blocks: Iterator[range | Exception] = iter(blocks)
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> range:
        self.asked += 1
        await self.go.wait()
        block = next(self._blocks)
        if isinstance(block, Exception):
            raise block
        return block


async def test_ids_in_order_from_block_to_block() -> None:
    blocks = Blocks(range(2), range(10, 12))
    manager = ProducerIdManager(blocks)
    assert [await manager.next() for _ in range(4)] == [0, 1, 10, 11]
    assert blocks.asked == 2


async def test_those_that_wait_share_a_block() -> None:
    blocks = Blocks(range(2), range(10, 12))
    blocks.go.clear()
    manager = ProducerIdManager(blocks)
    waiting = [asyncio.create_task(manager.next()) for _ in range(3)]
    while not blocks.asked:
        await asyncio.sleep(0)
    assert blocks.asked == 1
    waiting[0].cancel()
    blocks.go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [0, 1]
    assert blocks.asked == 1


async def test_a_failure_is_passed_on_and_forgotten() -> None:
    manager = ProducerIdManager(Blocks(KafkaError(14), range(5, 7)))
    with pytest.raises(KafkaError):
        await manager.next()
    assert await manager.next() == 5


async def test_an_empty_block_is_not_an_id() -> None:
    manager = ProducerIdManager(Blocks(range(0), range(5, 7)))
    assert await manager.next() == 5
