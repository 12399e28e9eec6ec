"""Requests in work are held, and their failures told at once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from tidelog.net.tasks import Tasks


async def test_a_failure_is_told_when_it_happens() -> None:
    loop = asyncio.get_running_loop()
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    tasks = Tasks(loop)

    async def fail() -> None:
        raise ValueError("no")

    task = tasks.start(fail())
    assert len(tasks) == 1
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert [str(error) for error in told] == ["no"]
    assert len(tasks) == 0


async def test_a_cancelled_one_is_no_failure() -> None:
    loop = asyncio.get_running_loop()
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    tasks = Tasks(loop)
    task = tasks.start(asyncio.sleep(3600))
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert (told, len(tasks)) == ([], 0)


async def test_a_task_that_only_waits_is_not_collected() -> None:
    tasks = Tasks(asyncio.get_running_loop())
    done: list[str] = []

    class Holder:
        future: asyncio.Future[None]

    holder = Holder()
    holder.future = asyncio.get_running_loop().create_future()

    async def wait(of: Holder) -> None:
        await of.future
        done.append("done")

    tasks.start(wait(holder))
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    holder.future.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == ["done"]
