"""Carries changes of ISRs from this node's leaders to the controller and its answers back.

Belongs to the worker's loop task. What changes is decided in `isr`; this module keeps a `LeaderIsr`
for each partition that this node leads and that has other replicas, sends what is proposed together
as one request, one at a time, and asks again where an answer stays out. A partition keeps its
larger ISR until it is known what holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from tidelog._native.followers import ClusterView
from tidelog._native.partition import Partition
from tidelog.clock import Clock, SystemClock
from tidelog.limits import ISR_CHANGE_RETRY_MS, ISR_CHANGES_PER_REQUEST
from tidelog.metadata.isr import AlteredIsr, IsrChange
from tidelog.protocol.error_codes import ErrorCode
from tidelog.replication.isr import LeaderIsr, PendingExpand, PendingShrink, Verdict

log: Final = logging.getLogger(__name__)

Proposal = PendingExpand | PendingShrink
#: Asks the controller for the changes. None: whether they are carried out is not known; else one
#: result for each.
ChangeIsrs = Callable[[tuple[IsrChange, ...]], Awaitable[tuple[AlteredIsr, ...] | None]]
TopicPartition = tuple[bytes, int]  # topic id, index


class IsrChanges:
    """One per worker."""

    def __init__(
        self,
        node_id: int,
        node_epoch: int,
        change: ChangeIsrs,
        clock: Clock,
        lag_time_max_ms: int,
    ) -> None:
        # The system clock is read natively: it is asked at every fetch of a follower.
        clock_ms = None if isinstance(clock, SystemClock) else clock.monotonic_ms
        self.view = ClusterView(lag_time_max_ms, self._caught_up, clock_ms)
        self._node_id = node_id
        self._node_epoch = node_epoch
        self._change = change
        self._clock = clock
        self._led: dict[TopicPartition, tuple[Partition, LeaderIsr]] = {}
        self._proposed: dict[TopicPartition, Proposal] = {}  # not sent yet
        self._sending: asyncio.Task[None] | None = None

    # -- what the replica manager tells ---------------------------------------------------------

    def led(self, partition: Partition) -> None:
        """This node leads the partition, with what the metadata says by now."""
        key = partition.topic_id, partition.index
        if partition.followers is None:
            self._led.pop(key, None)
            return
        known = self._led.get(key)
        if known is not None and known[0] is partition:
            isr = known[1]
            if isr.leader_epoch == partition.leader_epoch:
                isr.on_metadata(partition.isr, partition.partition_epoch)
                partition.set_maximal_isr(isr.state.maximal)
                return
        self._led[key] = (
            partition,
            LeaderIsr(partition.isr, partition.leader_epoch, partition.partition_epoch),
        )

    def ceased(self, partition: Partition) -> None:
        """This node leads it no more."""
        self._led.pop((partition.topic_id, partition.index), None)

    def check_lag(self) -> None:
        """Proposes that replicas which lag too far leave. To be called every half of
        `replica.lag.time.max.ms`.
        """
        now_ms = self._clock.monotonic_ms()
        for key, (partition, isr) in list(self._led.items()):
            if partition.followers is None or partition.log is None:
                continue
            lagging = partition.followers.lagging(partition.log.log_end_offset, now_ms)
            if not lagging:
                continue
            proposal = isr.shrink(self._node_id, lagging)
            if proposal is not None:
                log.warning(
                    "isr shrinks topic=%s partition=%d isr=%s removed=%s",
                    partition.topic.decode(), partition.index, isr.state.isr, proposal.removed,
                )  # fmt: skip
                self._propose(key, proposal)

    def nodes_changed(self, epochs: dict[int, int]) -> None:
        """The lives of the nodes that may be in an ISR. Who has caught up before it was known to be
        alive joins now, and not with its next fetch, which may wait long.
        """
        self.view.epochs = epochs
        for partition, _ in list(self._led.values()):
            if partition.followers is None:
                continue
            for node_id in partition.followers.ready_to_join(
                partition.high_watermark, partition.epoch_start_offset
            ):
                self._caught_up(partition, node_id)

    async def close(self) -> None:
        """Nothing is proposed any more."""
        self._led.clear()
        self._proposed.clear()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})

    # -- proposals ------------------------------------------------------------------------------

    def _caught_up(self, partition: Partition, node_id: int) -> None:
        key = partition.topic_id, partition.index
        known = self._led.get(key)
        if known is None or known[0] is not partition:
            return
        proposal = known[1].expand(node_id)
        if proposal is not None:
            partition.set_maximal_isr(proposal.maximal)
            log.info(
                "isr grows topic=%s partition=%d isr=%s added=%d",
                partition.topic.decode(), partition.index, proposal.isr, node_id,
            )  # fmt: skip
            self._propose(key, proposal)

    def _propose(self, key: TopicPartition, proposal: Proposal) -> None:
        self._proposed[key] = proposal
        self._send_soon()

    def _send_soon(self) -> None:
        if self._sending is None and self._proposed:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())
            self._sending.add_done_callback(self._sent_all)

    def _sent_all(self, task: asyncio.Task[None]) -> None:
        self._sending = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            raise error
        # (What was proposed after its last look, and before it had ended.)
        self._send_soon()

    async def _send_all(self) -> None:
        while self._proposed:
            batch = self._take_batch()
            if batch and not await self._send(batch):
                await asyncio.sleep(ISR_CHANGE_RETRY_MS / 1000)

    def _take_batch(self) -> dict[TopicPartition, tuple[Proposal, IsrChange]]:
        """The next proposals that still stand, as the controller gets them."""
        batch: dict[TopicPartition, tuple[Proposal, IsrChange]] = {}
        while self._proposed and len(batch) < ISR_CHANGES_PER_REQUEST:
            key, proposal = next(iter(self._proposed.items()))
            del self._proposed[key]
            known = self._led.get(key)
            if known is None or known[1].state is not proposal:
                continue
            partition, isr = known
            batch[key] = (
                proposal,
                IsrChange(
                    partition.topic_id,
                    partition.index,
                    isr.leader_epoch,
                    isr.partition_epoch,
                    tuple((node, self._epoch_of(partition, node)) for node in proposal.proposed),
                ),
            )
        return batch

    def _epoch_of(self, partition: Partition, node_id: int) -> int:
        """The life of the node that its presence in the ISR rests on."""
        if node_id == self._node_id:
            return self._node_epoch
        assert partition.followers is not None
        told = partition.followers.epoch_of(node_id)
        return told if told >= 0 else self.view.epochs.get(node_id, -1)

    async def _send(self, batch: dict[TopicPartition, tuple[Proposal, IsrChange]]) -> bool:
        """Returns whether everything was settled; what was not is proposed again."""
        answers = await self._change(tuple(change for _, change in batch.values()))
        if answers is None:
            return self._again(batch)
        settled = True
        for altered in answers:
            proposal = batch[altered.topic_id, altered.partition][0]
            settled &= self._take_answer(altered, proposal)
        return settled

    def _again(self, batch: dict[TopicPartition, tuple[Proposal, IsrChange]]) -> bool:
        for key, (proposal, _) in batch.items():
            self._proposed.setdefault(key, proposal)
        return False

    def _take_answer(self, altered: AlteredIsr, proposal: Proposal) -> bool:
        key = altered.topic_id, altered.partition
        known = self._led.get(key)
        if known is None:
            return True
        partition, isr = known
        if isr.state is not proposal or partition.leader_epoch != isr.leader_epoch:
            return True
        verdict = isr.on_answer(proposal, altered.error_code, altered.isr, altered.partition_epoch)
        if verdict is Verdict.UNKNOWN:
            self._proposed.setdefault(key, proposal)
            return False
        if verdict is Verdict.TAKEN:
            partition.set_isr(altered.isr, isr.partition_epoch)
        else:
            log.info(
                "isr not changed topic=%s partition=%d error=%s",
                partition.topic.decode(), partition.index, ErrorCode(altered.error_code).name,
            )  # fmt: skip
            partition.set_maximal_isr(isr.state.maximal)
        return True
