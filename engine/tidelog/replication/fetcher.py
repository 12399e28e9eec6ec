"""Keeps this node's followers in step with their leaders.

Belongs to the worker's loop task; the replica manager says what is followed. A FetcherManager has
one Fetcher for each leader node and fetcher index (num.replica.fetchers), with one task, one
connection and one incremental fetch session; a Fetcher goes when nothing is left for it. What
happens to a single partition is `followed`'s.

Requests are made while the answer before them is dealt with, not by the task: that only connects,
and connects again. It never decides who leads, and a leader that cannot be reached costs nothing
but a connection attempt now and then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Final, Protocol

from tidelog._native.replica_fetch import ReplicaFetch
from tidelog.clock import Clock
from tidelog.limits import (
    REPLICA_FETCH_HEADER_BYTES_MAX,
    REPLICA_RECONNECT_MS,
    REPLICA_SILENCE_MS,
)
from tidelog.metadata.image import MetadataImage
from tidelog.replication.fetch_connection import FetchConnection
from tidelog.replication.followed import Followed, FollowingPartition, LeaderOffsets
from tidelog.replication.throttle import Throttled

if TYPE_CHECKING:
    from tidelog.storage.log import PartitionLog

log: Final = logging.getLogger(__name__)

FETCH_VERSION: Final = 18
#: replica.socket.receive.buffer.bytes as it is by default. It stands for the system's own sizing
#: here, which grows with the connection: a fixed 64 KiB took 10 to 20% of the speed of a catch-up.
_DEFAULT_RECEIVE_BUFFER_BYTES: Final = 65_536
_INT32_MAX: Final = 2**31 - 1

#: (host, port, epoch of the node), or None while it is not to be reached.
Address = tuple[str, int, int]
_Key = tuple[bytes, int]


class FetcherConfig(Protocol):
    """The broker configs that fetchers work with; see the reference for their meaning."""

    @property
    def num_replica_fetchers(self) -> int: ...
    @property
    def replica_fetch_backoff_ms(self) -> int: ...
    @property
    def replica_fetch_max_bytes(self) -> int: ...
    @property
    def replica_fetch_min_bytes(self) -> int: ...
    @property
    def replica_fetch_response_max_bytes(self) -> int: ...
    @property
    def replica_fetch_wait_max_ms(self) -> int: ...
    @property
    def replica_socket_receive_buffer_bytes(self) -> int: ...
    @property
    def replica_socket_timeout_ms(self) -> int: ...
    @property
    def socket_request_max_bytes(self) -> int: ...


def reconnect_wait_ms(failures: int, rng: random.Random) -> float:
    """How long to wait before the next attempt, after so many failures in a row (1 or more).

    Spread by a fifth, so that the followers of a node that was lost do not come back as one.
    """
    at = min(failures, len(REPLICA_RECONNECT_MS)) - 1
    return REPLICA_RECONNECT_MS[at] * rng.uniform(0.8, 1.2)


def patience_ms(config: FetcherConfig, silences: int) -> int:
    """How long a leader may be silent that owes an answer, after so many connections in a row that
    ended for that. A leader that only is slow gets more each time.
    """
    longest = config.replica_socket_timeout_ms
    grown = REPLICA_SILENCE_MS << min(silences, 16)
    return min(longest, config.replica_fetch_wait_max_ms + grown)


class Fetcher:
    """Everything that this node fetches from one node over one connection."""

    def __init__(
        self,
        leader_id: int,
        exchange: ReplicaFetch,
        address: Callable[[], Address | None],
        config: FetcherConfig,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.leader_id = leader_id
        self.exchange = exchange
        self.followed: set[_Key] = set()
        self.connections = 0  # made so far
        self.throttled = Throttled(exchange, config.replica_fetch_backoff_ms, self.go_on)
        self._address = address
        self._reached: Address | None = None
        self._config = config
        self._clock = clock
        self._rng = rng
        self._connection: FetchConnection | None = None
        self._failures = 0
        self._silences = 0
        self._errors = 0
        self._taking = False
        self._resting: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    # -- requests and answers -------------------------------------------------------------------

    def go_on(self) -> None:
        """Send the next request if it is time for one: something is to be fetched, or has to be
        named at once.
        """
        if self._taking or self._resting is not None or self._connection is None:
            return
        if self.throttled.is_ready() and self.exchange.may_send:
            self._connection.send(self.exchange.next_request())

    def _answered(self) -> None:
        exchange = self.exchange
        parts = exchange.take_answer()
        self._failures = self._silences = 0
        now_ms = self._clock.wall_ms()
        stuck = moved = False
        self._taking = True
        try:
            for part in parts:
                if part.owner.take(now_ms):
                    moved = True
                else:
                    stuck = True
        finally:
            self._taking = False
        exchange.done()
        rest_ms = exchange.throttle_time_ms
        if exchange.error_code:
            rest_ms = max(rest_ms, self._session_failed(exchange.error_code))
        else:
            self._errors = 0
        if stuck and not moved:
            rest_ms = max(rest_ms, self._config.replica_fetch_backoff_ms)
        if rest_ms > 0:
            self._rest(rest_ms)
        else:
            self.go_on()

    def _session_failed(self, error_code: int) -> int:
        """The request as a whole was refused: the next one begins a new session."""
        self._errors += 1
        if self._errors == 1:  # the leader is a new process, or had to make room
            return 0
        if self._errors == 2:
            log.warning("fetch session refused leader=%d error=%d", self.leader_id, error_code)
        return self._config.replica_fetch_backoff_ms

    def _rest(self, time_ms: int) -> None:
        if self._resting is None:
            loop = asyncio.get_running_loop()
            self._resting = loop.call_later(time_ms / 1000, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.go_on()

    # -- connection -----------------------------------------------------------------------------

    def address_changed(self) -> None:
        """The metadata is another one: is the leader still where it was?"""
        if self._address() == self._reached:
            return
        self._failures = 0
        self._moved.set()
        if self._connection is not None:
            self._connection.close("the leader moved")

    async def _run(self) -> None:
        while True:
            self._moved.clear()
            self._reached = address = self._address()
            if address is None:
                await self._moved.wait()
                continue
            await self._connected(address)
            self._failures += 1
            wait_ms = 0.0 if self._moved.is_set() else reconnect_wait_ms(self._failures, self._rng)
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._moved.wait()
            except TimeoutError:
                pass

    async def _connected(self, address: Address) -> None:
        """One connection, from the attempt to its end."""
        config, where = self._config, address[:2]
        receive_buffer_bytes = config.replica_socket_receive_buffer_bytes
        if receive_buffer_bytes == _DEFAULT_RECEIVE_BUFFER_BYTES:
            receive_buffer_bytes = -1
        try:
            connection = await FetchConnection.open(
                where,
                self.exchange,
                self._answered,
                patience_ms(config, self._silences),
                receive_buffer_bytes,
            )
        except OSError as error:
            if self._failures == 0:
                log.warning("leader cannot be reached leader=%d address=%s:%d error=%s",
                            self.leader_id, *where, error)  # fmt: skip
            return
        self.connections += 1
        self._connection = connection
        try:
            self.go_on()
            reason = await connection.ended
        finally:
            connection.close("no longer wanted")
            self._connection = None
        self._silences += connection.was_silent
        if self._failures == 0:
            log.warning("connection to leader ended leader=%d address=%s:%d reason=%s",
                        self.leader_id, *where, reason)  # fmt: skip

    async def close(self) -> None:
        """End the task and the connection."""
        self.throttled.close()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._connection is not None:
            self._connection.close("no longer wanted")
        self._task.cancel()
        await asyncio.wait({self._task})


class FetcherManager:
    """One per worker. `node_epoch`: of this life of the node (KIP-903)."""

    def __init__(
        self,
        node_id: int,
        node_epoch: Callable[[], int],
        config: FetcherConfig,
        leader_offsets: LeaderOffsets,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.node_id = node_id
        self._node_epoch = node_epoch
        self._config = config
        self._leader_offsets = leader_offsets
        self._clock = clock
        self._rng = rng
        self._image = MetadataImage()
        self._followed: dict[_Key, Followed] = {}
        self._fetcher_of: dict[_Key, Fetcher] = {}
        self._fetchers: dict[tuple[int, int], Fetcher] = {}
        self._ending: dict[_Key, set[asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- what is followed -----------------------------------------------------------------------

    def follow(self, partition: FollowingPartition, held: PartitionLog) -> None:
        """Fetch the partition from its leader into that log, from now on; does nothing when that is
        done already. Without a leader it waits for one.
        """
        key = (partition.topic_id, partition.index)
        before = self._followed.get(key)
        if before is not None and before.is_for(partition, held):
            return
        self._stop(key)
        if self._closed or held.offline or partition.leader_id in (-1, self.node_id):
            return
        fetcher = self._fetcher_for(key, partition.leader_id)
        followed = Followed(
            partition,
            held,
            fetcher.exchange,
            self._leader_offsets,
            self._config.replica_fetch_backoff_ms,
            fetcher.go_on,
            fetcher.throttled,
        )
        self._followed[key] = followed
        self._fetcher_of[key] = fetcher
        fetcher.followed.add(key)
        if key in self._ending:
            self._spawn(self._start_later(key, followed))
        else:
            followed.start()

    async def leave(self, partition: FollowingPartition) -> None:
        """Follow it no more. Returns when nothing of it is in work: no append, roll, flush or
        truncation.
        """
        key = (partition.topic_id, partition.index)
        self._stop(key)
        await self._end_of(key)

    def _stop(self, key: _Key) -> None:
        followed = self._followed.pop(key, None)
        if followed is None:
            return
        work = followed.stop()
        if work is not None:
            self._ending.setdefault(key, set()).add(work)
            work.add_done_callback(lambda done: self._ended(key, done))
        fetcher = self._fetcher_of.pop(key)
        fetcher.followed.discard(key)
        if not fetcher.followed:
            for place, other in list(self._fetchers.items()):
                if other is fetcher:
                    del self._fetchers[place]
            self._spawn(fetcher.close())

    def _ended(self, key: _Key, work: asyncio.Task[None]) -> None:
        works = self._ending.get(key)
        if works is not None:
            works.discard(work)
            if not works:
                del self._ending[key]

    async def _end_of(self, key: _Key) -> None:
        while works := self._ending.get(key):
            await asyncio.wait(works)
            await asyncio.sleep(0)  # the callbacks that take them out

    async def _start_later(self, key: _Key, followed: Followed) -> None:
        """An earlier life of the partition still works on the log."""
        await self._end_of(key)
        if self._followed.get(key) is followed:
            followed.start()

    # -- fetchers -------------------------------------------------------------------------------

    def _fetcher_for(self, key: _Key, leader_id: int) -> Fetcher:
        index = (int.from_bytes(key[0][:4]) + key[1]) % self._config.num_replica_fetchers
        found = self._fetchers.get((leader_id, index))
        if found is None:
            found = self._fetchers[leader_id, index] = Fetcher(
                leader_id,
                self._exchange(index),
                lambda: self._address_of(leader_id),
                self._config,
                self._clock,
                self._rng,
            )
        return found

    def _exchange(self, index: int) -> ReplicaFetch:
        config = self._config
        return ReplicaFetch(
            api_version=FETCH_VERSION,
            client_id=f"tidelog-node-{self.node_id}-fetcher-{index}".encode(),
            node_id=self.node_id,
            node_epoch=self._node_epoch(),
            max_wait_ms=config.replica_fetch_wait_max_ms,
            min_bytes=config.replica_fetch_min_bytes,
            max_bytes=config.replica_fetch_response_max_bytes,
            partition_max_bytes=config.replica_fetch_max_bytes,
            answer_bytes_max=min(
                config.replica_fetch_response_max_bytes
                + config.socket_request_max_bytes
                + REPLICA_FETCH_HEADER_BYTES_MAX,
                _INT32_MAX,
            ),
        )

    def _address_of(self, node_id: int) -> Address | None:
        node = self._image.nodes.get(node_id)
        if node is None or node.fenced:
            return None
        return node.internode_host, node.internode_port, node.epoch

    @property
    def fetchers(self) -> list[Fetcher]:
        """Those that there are now."""
        return list(self._fetchers.values())

    def nodes_changed(self, image: MetadataImage) -> None:
        """Addresses and lives of the other nodes."""
        if image.nodes is self._image.nodes:
            return
        self._image = image
        for fetcher in self._fetchers.values():
            fetcher.address_changed()

    def set_config(self, config: FetcherConfig) -> None:
        """Another number of fetchers: everything is fetched anew by them. (What else they work with
        does not change while the broker runs.)
        """
        if config.num_replica_fetchers == self._config.num_replica_fetchers:
            return
        self._config = config
        before = list(self._followed.items())
        for key, _ in before:
            self._stop(key)
        for _, followed in before:
            self.follow(followed.partition, followed.held)

    async def close(self) -> None:
        """Follow nothing more. Returns when nothing is in work."""
        self._closed = True
        for key in list(self._followed):
            self._stop(key)
        for key in list(self._ending):
            await self._end_of(key)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
