"""The supervisor's side of the zygote."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator

import pytest

from tests.unit.process.test_zygote import load
from tidelog.process.spawner import Spawner, SpawnError
from tidelog.process.zygote import fork_zygote


class Scene:
    def __init__(self) -> None:
        self.zygote = fork_zygote(load)
        self.exits: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.spawner = Spawner(self.zygote, self)
        self.spawner.start()

    def process_exited(self, pid: int, status: int) -> None:
        self.exits.put_nowait((pid, status))

    def zygote_lost(self) -> None:
        self.lost.set()

    async def spawn(self) -> tuple[int, int, socket.socket]:
        ours, its = socket.socketpair()
        with its:
            pid, pidfd = await self.spawner.spawn("tidelog worker node=1", its, [])
        return pid, pidfd, ours


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    made.spawner.close()


async def test_processes_are_told_apart(scene: Scene) -> None:
    started = await asyncio.gather(*(scene.spawn() for _ in range(5)))
    pids = [pid for pid, _, _ in started]
    assert len(set(pids)) == 5
    for pid, pidfd, control in reversed(started):
        control.close()
        exited, status = await scene.exits.get()
        # 70 when it had not come so far as to wait for an order.
        assert exited == pid and status in (4, 70)
        os.close(pidfd)


async def test_a_lost_zygote(scene: Scene) -> None:
    os.kill(scene.zygote.pid, signal.SIGKILL)
    await scene.lost.wait()
    with pytest.raises(SpawnError):
        await scene.spawn()


async def test_a_zygote_lost_in_between(scene: Scene) -> None:
    os.kill(scene.zygote.pid, signal.SIGSTOP)
    spawning = asyncio.ensure_future(scene.spawn())
    await asyncio.sleep(0)
    os.kill(scene.zygote.pid, signal.SIGKILL)
    with pytest.raises(SpawnError):
        await spawning


async def test_whoever_gave_up_leaves_no_worker(scene: Scene) -> None:
    os.kill(scene.zygote.pid, signal.SIGSTOP)
    ours, its = socket.socketpair()
    spawning = asyncio.ensure_future(scene.spawner.spawn("tidelog worker node=1", its, []))
    await asyncio.sleep(0)
    spawning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await spawning
    its.close()
    ours.close()
    os.kill(scene.zygote.pid, signal.SIGCONT)
    _, status = await scene.exits.get()
    # Its control socket had ended before it came up.
    assert status in (4, 70)


async def test_too_many_sockets_are_refused(scene: Scene) -> None:
    ours, its = socket.socketpair()
    with ours, its, pytest.raises(SpawnError, match="at most"):
        await scene.spawner.spawn("t", its, [its] * 64)
