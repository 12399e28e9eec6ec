"""Changes of ISRs on their way to the controller and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.native.lane_harness import NOW_MS, Owner, batch, topic_id_of
from tidelog._native.partition import Partition, Progress
from tidelog.clock import ManualClock
from tidelog.metadata.isr import AlteredIsr, IsrChange
from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication.isr_changes import IsrChanges

LAG_MS = 100


class World:
    """Node 1 leads partitions of t with replicas 1, 2 and 3; answers come from a list."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.changes = IsrChanges(1, 40, self.change, self.clock, LAG_MS)
        self.changes.view.epochs = {1: 40, 2: 50, 3: 60}
        self.asked: list[tuple[IsrChange, ...]] = []
        #: What the next questions get: a code for all, None for no answer; without any: success.
        self.answers: list[int | None] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def lead(self, index: int = 0, isr: tuple[int, ...] = (1, 2, 3)) -> Partition:
        partition = Partition(b"t", topic_id_of("t"), index, Progress())
        partition.set_leadership(1, 5, 7, (1, 2, 3), isr)
        folder = self.directory / str(index)
        folder.mkdir()
        owner = Owner(folder, 1 << 20)
        await owner.roll()
        partition.open_as_leader(owner.core, 0, self.changes.view)
        self.changes.led(partition)
        return partition

    async def change(self, changes: tuple[IsrChange, ...]) -> tuple[AlteredIsr, ...] | None:
        """The controller: carries out, or answers what the test has laid ready."""
        self.asked.append(changes)
        await self.gate.wait()
        code = self.answers.pop(0) if self.answers else 0
        if code is None:
            return None
        return tuple(
            AlteredIsr(
                change.topic_id, change.partition, code, 1, 5,
                tuple(node for node, _ in change.new_isr), change.partition_epoch + 1,
            )
            for change in changes
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("tidelog.replication.isr_changes.ISR_CHANGE_RETRY_MS", 1)
    return World(tmp_path)


def fetched(partition: Partition, node: int, offset: int, epoch: int, now: int = 0) -> None:
    assert partition.followers is not None
    assert partition.log is not None
    end = partition.log.log_end_offset
    assert partition.followers.fetched(node, epoch, offset, 0, end, now)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError


async def test_a_follower_that_caught_up_joins(world: World) -> None:
    partition = await world.lead(isr=(1, 2))
    world.gate.clear()
    fetched(partition, 3, 0, 60)
    world.changes.view.caught_up(partition, 3)
    world.changes.view.caught_up(partition, 3)  # at each of its fetches
    await until(lambda: world.asked)
    # It is waited for from now on, whatever comes of it.
    partition.append_built(bytearray(batch([b"a"])), NOW_MS)
    fetched(partition, 2, 1, 50)
    partition.update_progress()
    assert (partition.isr, partition.high_watermark) == ((1, 2), 0)
    world.gate.set()
    await until(lambda: partition.isr == (1, 2, 3))
    assert partition.partition_epoch == 8
    (change,) = world.asked[0]
    assert (change.leader_epoch, change.partition_epoch) == (5, 7)
    assert change.new_isr == ((1, 40), (2, 50), (3, 60))
    assert len(world.asked) == 1
    await world.changes.close()


async def test_an_earlier_life_is_named_as_such(world: World) -> None:
    partition = await world.lead(isr=(1, 2))
    world.answers = [int(ErrorCode.INELIGIBLE_REPLICA)]
    fetched(partition, 3, 0, 59)
    world.changes.view.caught_up(partition, 3)
    await until(lambda: world.asked and not world.answers)
    assert world.asked[0][0].new_isr[2] == (3, 59)
    await asyncio.sleep(0.01)
    # Refused: it is not waited for, and may try again with its next fetch.
    partition.append_built(bytearray(batch([b"a"])), NOW_MS)
    fetched(partition, 2, 1, 50)
    partition.update_progress()
    assert (partition.isr, partition.high_watermark) == ((1, 2), 1)
    world.changes.view.caught_up(partition, 3)
    await until(lambda: partition.isr == (1, 2, 3))
    await world.changes.close()


async def test_who_caught_up_before_it_was_known_to_be_alive_joins_when_it_is(
    world: World,
) -> None:
    partition = await world.lead(isr=(1, 2))
    world.changes.view.epochs = {1: 40, 2: 50}
    fetched(partition, 3, 0, 60)
    world.changes.nodes_changed({1: 40, 2: 50})
    await asyncio.sleep(0.01)
    assert world.asked == []
    world.changes.nodes_changed({1: 40, 2: 50, 3: 60})
    await until(lambda: partition.isr == (1, 2, 3))
    await world.changes.close()


async def test_what_is_proposed_while_the_last_answer_is_taken_is_sent(world: World) -> None:
    first, second = await world.lead(0, (1, 2)), await world.lead(1, (1, 2))
    fetched(first, 3, 0, 60)
    fetched(second, 3, 0, 60)
    world.changes.view.caught_up(first, 3)
    sending = world.changes._sending
    assert sending is not None
    # Its end is not noticed yet when the next one comes.
    sending.add_done_callback(lambda _: None)
    while not sending.done():
        await asyncio.sleep(0)
    world.changes.view.caught_up(second, 3)
    await until(lambda: second.isr == (1, 2, 3))
    await world.changes.close()


async def test_lagging_replicas_leave_together_in_one_request(world: World) -> None:
    partitions = [await world.lead(index) for index in range(3)]
    for partition in partitions:
        partition.append_built(bytearray(batch([b"a"])), NOW_MS)
        assert partition.followers is not None
        partition.followers.begin_epoch((1, 2, 3), world.clock.monotonic_ms())
        fetched(partition, 2, 1, 50, world.clock.monotonic_ms())
    world.changes.check_lag()
    world.clock.advance(LAG_MS + 1)
    world.changes.check_lag()
    world.changes.check_lag()
    await until(lambda: all(partition.isr == (1, 2) for partition in partitions))
    assert [len(changes) for changes in world.asked] == [3]
    assert [partition.high_watermark for partition in partitions] == [1, 1, 1]
    await world.changes.close()


@pytest.mark.parametrize("answer", [None, int(ErrorCode.REQUEST_TIMED_OUT)])
async def test_what_is_not_settled_is_asked_again(world: World, answer: int | None) -> None:
    partition = await world.lead(isr=(1, 2))
    world.answers = [answer, answer]
    fetched(partition, 3, 0, 60)
    world.changes.view.caught_up(partition, 3)
    await until(lambda: partition.isr == (1, 2, 3))
    assert world.asked[0] == world.asked[1] == world.asked[2]
    await world.changes.close()


async def test_metadata_that_comes_first_ends_the_question(world: World) -> None:
    partition = await world.lead(isr=(1, 2))
    world.answers = [None]
    fetched(partition, 3, 0, 60)
    world.changes.view.caught_up(partition, 3)
    await until(lambda: world.asked)
    partition.set_leadership(1, 5, 9, (1, 2, 3), (1, 3))
    world.changes.led(partition)
    await asyncio.sleep(0.02)
    assert len(world.asked) == 1
    assert partition.isr == (1, 3)
    await world.changes.close()


async def test_answers_after_the_leadership_has_gone(world: World) -> None:
    partition = await world.lead(isr=(1, 2))
    world.gate.clear()
    world.changes.view.caught_up(partition, 3)
    await until(lambda: world.asked)
    world.changes.ceased(partition)
    world.changes.view.caught_up(partition, 3)
    world.gate.set()
    await asyncio.sleep(0.01)
    assert partition.isr == (1, 2)
    assert len(world.asked) == 1
    # Led again, in another epoch: what was asked before is forgotten.
    partition.set_leadership(1, 6, 9, (1, 2, 3), (1, 2))
    world.changes.led(partition)
    fetched(partition, 3, 0, 60)
    world.changes.view.caught_up(partition, 3)
    await until(lambda: partition.isr == (1, 2, 3))
    assert world.asked[1][0].leader_epoch == 6
    await world.changes.close()


async def test_a_partition_without_other_replicas_is_none_of_its_business(world: World) -> None:
    partition = Partition(b"t", topic_id_of("t"), 0, Progress())
    partition.set_leadership(1, 5, 7, (1,), (1,))
    partition.open_as_leader(Owner(world.directory, 1 << 20).core, -1, world.changes.view)
    world.changes.led(partition)
    world.clock.advance(10 * LAG_MS)
    world.changes.check_lag()
    await world.changes.close()
    assert world.asked == []
