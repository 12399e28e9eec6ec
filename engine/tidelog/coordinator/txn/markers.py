"""Has the markers of decided transactions written, and then the transactions completed.

Belongs to the worker's loop task; a shell: it sends and waits, and decides nothing about
transactions. For each node there is at most one request under way; what comes meanwhile goes with
the next one, so that many small transactions share requests. A marker is sent again until its
partition's leader acknowledges it, its topic is gone, or this node coordinates the transaction no
more (`stop`): the next coordinator finds the decision in the log and begins anew.

What is held is bounded: one entry at most for each transactional id of the shards led here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from tidelog.coordinator.txn.shard import Prepared
from tidelog.coordinator.txn.transaction import TopicPartition
from tidelog.errors import InvariantError, KafkaError, TidelogError
from tidelog.limits import MARKER_PARTITIONS_PER_REQUEST_MAX, MARKER_RETRY_MS
from tidelog.metadata.image import MetadataImage, PartitionImage
from tidelog.metadata.records import NO_LEADER
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from tidelog.protocol.schema import Request, Response

log: Final = logging.getLogger(__name__)

#: The version in which nodes send markers to each other: it tells the transaction's generation.
WRITE_TXN_MARKERS_VERSION: Final = 2

#: Nothing more is to be done for a partition that answers this. The last two: it has no
#: transactions at all (Kafka: an old message format).
_DONE: Final = frozenset(
    {
        ErrorCode.NONE,
        ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        ErrorCode.UNSUPPORTED_VERSION,
    }
)

#: Somebody newer has been there: another coordinator writes the markers of this transaction.
_FENCED: Final = frozenset(
    {ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTION_COORDINATOR_FENCED}
)


class PeerClient(Protocol):
    """Asks other nodes, and this one."""

    async def request(self, node_id: int, request: Request, api_version: int) -> Response:
        """The node's answer. Raises KafkaError, StorageError, PeerError or OSError when there is
        none; a request that was sent may have been carried out all the same.
        """
        ...


@dataclass(eq=False, slots=True)
class _Work:
    """One transaction whose markers are under way.

    remaining: partitions that have not acknowledged. waiting: those of them that are tried again
    later, with what the metadata said of them (None: no leader known).
    """

    prepared: Prepared
    coordinator_epoch: int
    remaining: set[TopicPartition]
    tries: int = 0
    waiting: dict[TopicPartition, PartitionImage | None] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> tuple[int, str]:
        return self.prepared.index, self.prepared.transactional_id


class _Part(NamedTuple):
    """What one node is to be told of a transaction."""

    work: _Work
    partitions: list[TopicPartition]


@dataclass(slots=True)
class _Node:
    """What waits for one node."""

    parts: list[_Part] = field(default_factory=list)
    is_busy: bool = False


class MarkerSender:
    """Implements `shard.Markers`. One per worker.

    leader_epoch(index): in which this node leads that partition of `__transaction_state`.
    complete(prepared): records in the shard that all is written.
    """

    def __init__(
        self,
        image: Callable[[], MetadataImage],
        peers: PeerClient,
        leader_epoch: Callable[[int], int],
        complete: Callable[[Prepared], Awaitable[object]],
    ) -> None:
        self._image = image
        self._peers = peers
        self._leader_epoch = leader_epoch
        self._complete = complete
        self._works: dict[tuple[int, str], _Work] = {}
        self._nodes: dict[int, _Node] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """Transactions that are decided and not complete."""
        return len(self._works)

    # -- shard.Markers ----------------------------------------------------------------------------

    def send(self, prepared: Prepared) -> None:
        try:
            epoch = self._leader_epoch(prepared.index)
        except KafkaError:
            return  # No coordinator any more.
        work = _Work(prepared, epoch, set(prepared.partitions))
        held = self._works.get(work.key)
        if held is not None:
            self._forget(held)
        self._works[work.key] = work
        self._dispatch(work, prepared.partitions)

    def stop(self, index: int) -> None:
        for work in [work for work in self._works.values() if work.prepared.index == index]:
            self._forget(work)

    # -- the worker -------------------------------------------------------------------------------

    def metadata_changed(self) -> None:
        """A new image holds: what waits for a partition that has moved or gone waits no longer."""
        image = self._image()
        for work in list(self._works.values()):
            if any(_state(image, place) != known for place, known in work.waiting.items()):
                self._try_again(work)

    async def close(self) -> None:
        """Send nothing more; what is not acknowledged is found in the log."""
        for work in list(self._works.values()):
            self._forget(work)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- sending ----------------------------------------------------------------------------------

    def _dispatch(self, work: _Work, partitions: Iterable[TopicPartition]) -> None:
        """Give the partitions to the nodes that lead them."""
        image = self._image()
        homeless: list[TopicPartition] = []
        by_leader: dict[int, list[TopicPartition]] = {}
        for place in sorted(partitions):  # (a set has no order that a simulation could replay)
            state = _state(image, place)
            if state is None:  # Deleted: nobody will read the transaction there.
                work.remaining.discard(place)
            elif state.leader == NO_LEADER:
                homeless.append(place)
            else:
                by_leader.setdefault(state.leader, []).append(place)
        for leader, places in by_leader.items():
            node = self._nodes.setdefault(leader, _Node())
            node.parts.append(_Part(work, places))
            if not node.is_busy:
                node.is_busy = True
                self._start(self._talk_to(leader, node))
        if homeless:
            self._wait(work, homeless)
        if not work.remaining:
            self._start(self._finish(work))

    async def _talk_to(self, node_id: int, node: _Node) -> None:
        try:
            while node.parts:
                parts = _take(node)
                live = [part for part in parts if self._is_live(part.work)]
                if live:
                    await self._ask(node_id, live)
        finally:
            node.is_busy = False

    async def _ask(self, node_id: int, parts: Collection[_Part]) -> None:
        request = WriteTxnMarkersRequest(markers=[_marker(part) for part in parts])
        try:
            answer = await self._peers.request(node_id, request, WRITE_TXN_MARKERS_VERSION)
        except InvariantError:
            raise
        except (TidelogError, OSError) as error:
            log.debug("markers not written node=%d error=%s", node_id, error)
            answer = WriteTxnMarkersResponse()
        if not isinstance(answer, WriteTxnMarkersResponse):
            raise InvariantError(f"WriteTxnMarkers was answered with {type(answer).__name__}")
        codes = {
            (marker.producer_id, topic.name, partition.partition_index): partition.error_code
            for marker in answer.markers
            for topic in marker.topics
            for partition in topic.partitions
        }
        for part in parts:
            if self._is_live(part.work):
                self._answered(part, codes)

    def _answered(self, part: _Part, codes: dict[tuple[int, str, int], int]) -> None:
        work = part.work
        again = []
        for place in part.partitions:
            code = codes.get((work.prepared.producer_id, *place))
            if code in _FENCED:
                log.warning(
                    "transaction markers fenced transactional_id=%s topic=%s partition=%d "
                    "error_code=%d",
                    work.prepared.transactional_id,
                    place.topic,
                    place.partition,
                    code,
                )
                self._forget(work)
                return
            if code in _DONE:
                work.remaining.discard(place)
            else:
                again.append(place)
        if again:
            self._wait(work, again)
        elif not work.remaining:
            self._start(self._finish(work))

    # -- trying again -----------------------------------------------------------------------------

    def _wait(self, work: _Work, partitions: Iterable[TopicPartition]) -> None:
        image = self._image()
        work.waiting.update((place, _state(image, place)) for place in partitions)
        if work.timer is None:
            delay_ms = _delay_ms(work.tries)
            work.tries += 1
            loop = asyncio.get_running_loop()
            work.timer = loop.call_later(delay_ms / 1000, self._try_again, work)

    def _try_again(self, work: _Work) -> None:
        if work.timer is not None:
            work.timer.cancel()
            work.timer = None
        waiting = list(work.waiting)
        work.waiting.clear()
        if self._is_live(work):
            self._dispatch(work, waiting)

    # -- the end ----------------------------------------------------------------------------------

    async def _finish(self, work: _Work) -> None:
        tries = 0
        while self._is_live(work):
            try:
                await self._complete(work.prepared)
            except KafkaError as error:
                if error.error_code != ErrorCode.NOT_COORDINATOR:
                    await asyncio.sleep(_delay_ms(tries) / 1000)
                    tries += 1
                    continue
            self._forget(work)

    def _is_live(self, work: _Work) -> bool:
        return self._works.get(work.key) is work

    def _forget(self, work: _Work) -> None:
        if work.timer is not None:
            work.timer.cancel()
        if self._is_live(work):
            del self._works[work.key]

    def _start(self, coroutine: Awaitable[None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _state(image: MetadataImage, place: TopicPartition) -> PartitionImage | None:
    return image.partition(place.topic, place.partition)


def _delay_ms(tries: int) -> int:
    return MARKER_RETRY_MS[min(tries, len(MARKER_RETRY_MS) - 1)]


def _take(node: _Node) -> list[_Part]:
    """The parts that one request takes: at least one."""
    count = size = 0
    for part in node.parts:
        size += len(part.partitions)
        if count and size > MARKER_PARTITIONS_PER_REQUEST_MAX:
            break
        count += 1
    taken = node.parts[:count]
    del node.parts[:count]
    return taken


def _marker(part: _Part) -> WritableTxnMarker:
    prepared = part.work.prepared
    topics: dict[str, list[int]] = {}
    for topic, partition in part.partitions:
        topics.setdefault(topic, []).append(partition)
    return WritableTxnMarker(
        producer_id=prepared.producer_id,
        producer_epoch=prepared.producer_epoch,
        transaction_result=prepared.commit,
        topics=[
            WritableTxnMarkerTopic(name=name, partition_indexes=partitions)
            for name, partitions in topics.items()
        ],
        coordinator_epoch=part.work.coordinator_epoch,
        transaction_version=prepared.transaction_version,
    )
