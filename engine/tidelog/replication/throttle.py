"""Replication quotas (KIP-73) as replicas see them: whose copying is throttled, and what a follower
leaves out of its requests while its node is beyond its quota.

Belongs to the worker's loop task. Rates are measured in `quotas.replication`; the leader's side is
`Partition.is_held_back`, in the native lane. Nothing here looks into a log or an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from tidelog.limits import THROTTLE_DRAIN_MS, THROTTLED_LISTS_KEPT

if TYPE_CHECKING:
    from tidelog._native.partition import Throttle
    from tidelog.replication.followed import Followed

_ALL: Final = ("*",)


class Throttles(Protocol):
    """The two quotas of a node."""

    @property
    def leader(self) -> Throttle:
        """Of what followers fetch from it."""

    @property
    def follower(self) -> Throttle:
        """Of what it fetches as a follower."""


def is_throttled(replicas: tuple[str, ...], index: int, node_id: int) -> bool:
    """Whether `leader.` or `follower.replication.throttled.replicas` (`partition:node`, or `*`) has
    that replica.
    """
    if not replicas:
        return False
    return replicas == _ALL or (index, node_id) in _pairs(replicas)


# (It is asked for each partition of a topic, and a tool lists all of them.)
@lru_cache(maxsize=THROTTLED_LISTS_KEPT)
def _pairs(replicas: tuple[str, ...]) -> frozenset[tuple[int, int]]:
    pairs = (pair.partition(":") for pair in replicas)
    return frozenset((int(index), int(node_id)) for index, _, node_id in pairs)


class Exchange(Protocol):
    """What of a ReplicaFetch is looked at."""

    @property
    def sent(self) -> int: ...

    @property
    def answered(self) -> int: ...


class Throttled:
    """The throttled partitions of one fetcher. `on_ready`: some of them are to be fetched again.

    As in Kafka who is in sync is fetched all the same, or it would leave the ISR; its bytes count.
    A partition that is left out is asked for again when the rate should be down, at the latest
    after `backoff_ms`.
    """

    def __init__(self, exchange: Exchange, backoff_ms: int, on_ready: Callable[[], object]) -> None:
        self._exchange = exchange
        self._backoff_ms = backoff_ms
        self._on_ready = on_ready
        # In the order in which they are to be left out and come back: who got something is last.
        self._fetched: dict[Followed, None] = {}
        self._held: dict[Followed, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._draining: asyncio.TimerHandle | None = None
        self._drained = False

    def may_ask(self, followed: Followed) -> bool:
        """Whether the next request may name it. If not, it will be resumed."""
        throttle = followed.partition.throttle
        if throttle is None:
            return True
        self._fetched.pop(followed, None)
        if not followed.is_in_sync and throttle.is_exceeded():
            self._hold(followed, throttle)
            return False
        self._fetched[followed] = None
        return True

    def is_ready(self) -> bool:
        """Whether the next request may be made; those that it is not to fetch are left out then.

        What an answer that is under way brings is to be used, and charged: so it is waited for, but
        only as long as one takes that has something. Then `on_ready` is called.
        """
        surplus = self._surplus() if self._fetched else []
        if surplus and not self._drained and self._exchange.sent != self._exchange.answered:
            if self._draining is None:
                loop = asyncio.get_running_loop()
                self._draining = loop.call_later(THROTTLE_DRAIN_MS / 1000, self._drain_ended)
            return False
        self._end_draining()
        for followed, throttle in surplus:
            del self._fetched[followed]
            followed.leave_out()
            self._hold(followed, throttle)
        return True

    def _surplus(self) -> list[tuple[Followed, Throttle]]:
        """What would be fetched beyond the quota."""
        found = []
        exceeded = False
        for followed in list(self._fetched):
            throttle = followed.partition.throttle
            if throttle is None or not followed.is_present:
                del self._fetched[followed]
            elif not (exceeded or throttle.is_exceeded()):
                return []
            else:
                exceeded = True  # (All have the same quota.)
                if followed.is_asked and not followed.is_in_sync:
                    found.append((followed, throttle))
        return found

    def _drain_ended(self) -> None:
        self._draining = None
        self._drained = True
        self._on_ready()

    def _end_draining(self) -> None:
        self._drained = False
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None

    def forget(self, followed: Followed) -> None:
        """It is followed no more."""
        self._fetched.pop(followed, None)
        self._held.pop(followed, None)

    def close(self) -> None:
        """Nobody is resumed any more."""
        self._fetched.clear()
        self._held.clear()
        self._end_draining()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def held(self) -> list[Followed]:
        """Those that are left out now."""
        return list(self._held)

    def _hold(self, followed: Followed, throttle: Throttle) -> None:
        self._held[followed] = None
        if self._timer is None:
            wait_ms = min(max(throttle.wait_ms(), 1), max(self._backoff_ms, 1))
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._resume)

    def _resume(self) -> None:
        self._timer = None
        held, self._held = self._held, {}
        for followed in held:
            followed.resume()
        self._on_ready()
