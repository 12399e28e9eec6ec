"""Runs the controller machine: one queue of events, one store thread, numbered deltas, answers
when they hold.

Lives on the loop of the process that owns the metadata (the supervisor). It alone writes the
metastore, on a thread of its own; it never touches a log and never decides anything itself.

The way of an event: queue -> machine (on the image after all earlier events) -> one transaction of
the store -> image -> delta to every worker -> answer as soon as every live worker has applied that
version. Events that wait together are written in one transaction together: each of them is in it
whole or, if it fails, not at all.

Answers that change nothing wait for the version they were decided on, too: "exists already" is
then as true on every node as on this one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tidelog.clock import Clock
from tidelog.controller.decision import Random, UncleanElection
from tidelog.controller.machine import Controller
from tidelog.controller.requests import ControllerAnswer, ControllerRequest, RequestFailed
from tidelog.limits import CONTROLLER_BATCH_EVENTS_MAX, CONTROLLER_QUEUE_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.metastore.contract import Metastore, MetastoreError, VersionConflictError
from tidelog.protocol.error_codes import ErrorCode

_log = logging.getLogger(__name__)

#: Called with (version, records) after each commit; sends the delta to every worker, never blocks.
Publish = Callable[[int, list[ChangeRecord]], None]


_FAILED = RequestFailed(ErrorCode.UNKNOWN_SERVER_ERROR, "the controller could not decide this")


class _Event(NamedTuple):
    request: ControllerRequest
    answered: asyncio.Future[ControllerAnswer]
    when_committed: bool


class _Waiting(NamedTuple):
    """An answer that is given when the nodes have applied `version`."""

    version: int
    nodes: set[int]
    answer: ControllerAnswer
    answered: asyncio.Future[ControllerAnswer]


class ControllerRuntime:
    """See the module. Made with what the store holds; `run` is a task of its owner."""

    def __init__(
        self,
        machine: Controller,
        store: Metastore,
        image: MetadataImage,
        publish: Publish,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._machine = machine
        self._store = store
        self._image = image
        self._publish = publish
        self._clock = clock
        self._rng = rng
        self._events: deque[_Event] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metastore")
        self._applied: dict[int, int] = {}
        self._waiting: list[_Waiting] = []
        self._carried: list[_Event] = []  # out, at this moment
        self._ended: RequestFailed | None = None

    @property
    def image(self) -> MetadataImage:
        """The latest committed image."""
        return self._image

    def submit(
        self, request: ControllerRequest, *, when_committed: bool = False
    ) -> asyncio.Future[ControllerAnswer]:
        """Queues the event. The future gets the answer when every live node has applied what it
        led to, or as soon as that is committed.
        """
        answered: asyncio.Future[ControllerAnswer] = asyncio.get_running_loop().create_future()
        if self._ended is not None:
            answered.set_result(self._ended)
            return answered
        if len(self._events) >= CONTROLLER_QUEUE_MAX:
            answered.set_result(
                RequestFailed(ErrorCode.REQUEST_TIMED_OUT, "the controller has too much to do")
            )
            return answered
        self._events.append(_Event(request, answered, when_committed))
        self._wake.set()
        return answered

    def node_live(self, node_id: int, version: int) -> None:
        """From now on answers wait for this node; it has applied `version`."""
        self._applied[node_id] = version

    def node_gone(self, node_id: int) -> None:
        """Nobody waits for this node any more: when it returns, it starts with a snapshot."""
        if self._applied.pop(node_id, None) is not None:
            self._release(node_id, None)

    def node_applied(self, node_id: int, version: int) -> None:
        """The node works with that version."""
        if node_id in self._applied:
            self._applied[node_id] = version
            self._release(node_id, version)

    def node_version(self, node_id: int, version: int) -> None:
        """The node, live from now on, works with that version; -1: it is gone."""
        if version < 0:
            self.node_gone(node_id)
        else:
            self.node_live(node_id, version)
            self.node_applied(node_id, version)

    async def run(self) -> None:
        """Carries events out until it is cancelled. Raises VersionConflictError when another
        process writes the store: nothing that this one holds can be trusted then. Whoever waits
        for a decision is told NOT_CONTROLLER: what it asked may have been decided, or may be.
        """
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._events:
                    count = min(len(self._events), CONTROLLER_BATCH_EVENTS_MAX)
                    self._carried = [self._events.popleft() for _ in range(count)]
                    await self._carry_out(self._carried)
                    self._carried = []
        except VersionConflictError:
            for waiting in self._waiting:
                _settle(waiting.answered, waiting.answer)  # it is decided, by whomever now
            self._fail_all(ErrorCode.NOT_CONTROLLER, "another process is the controller")
            raise
        finally:
            self._fail_all(ErrorCode.REQUEST_TIMED_OUT, "the controller has stopped")

    async def close(self) -> None:
        """Closes the store, after `run` has ended."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown(wait=False)

    async def _carry_out(self, events: list[_Event]) -> None:
        before = self._image
        version = before.version + 1
        image = before
        records: list[ChangeRecord] = []
        unclean: list[UncleanElection] = []
        answers: list[tuple[_Event, ControllerAnswer]] = []
        now_ms = self._clock.wall_ms()
        for event in events:
            try:
                decision = self._machine.handle(image, event.request, now_ms, self._rng)
                after = image.apply(decision.records, version) if decision.records else image
            except Exception:
                # A bug, but nothing has changed by it: it costs this one request, not the broker.
                _log.exception("decision failed request=%s", type(event.request).__name__)
                answers.append((event, _FAILED))
                continue
            image = after
            records.extend(decision.records)
            unclean.extend(decision.unclean_elections)
            answers.append((event, decision.answer))
        if records:
            try:
                await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._store.commit, records, before.version
                )
            except MetastoreError as error:
                _log.error("metadata cannot be stored events=%d error=%s", len(events), error)
                if isinstance(error, VersionConflictError):
                    raise
                failed = RequestFailed(
                    ErrorCode.KAFKA_STORAGE_ERROR, "the metadata could not be stored"
                )
                for event in events:
                    _settle(event.answered, failed)
                return
            self._image = image
            for each in unclean:
                _log.error(
                    "unclean leader election topic=%s partition=%d leader=%d",
                    *(each.topic, each.partition, each.leader),
                )
            self._publish(version, records)
        for event, answer in answers:
            if event.when_committed:
                _settle(event.answered, answer)
            else:
                self._answer_when_applied(event.answered, answer)

    def _answer_when_applied(
        self, answered: asyncio.Future[ControllerAnswer], answer: ControllerAnswer
    ) -> None:
        version = self._image.version
        behind = {node for node, applied in self._applied.items() if applied < version}
        if behind:
            self._waiting.append(_Waiting(version, behind, answer, answered))
        else:
            _settle(answered, answer)

    def _release(self, node_id: int, version: int | None) -> None:
        """Gives the answers that waited for this node only; version None: for whatever version."""
        still_waiting = []
        for waiting in self._waiting:
            if version is None or version >= waiting.version:
                waiting.nodes.discard(node_id)
            if waiting.nodes:
                still_waiting.append(waiting)
            else:
                _settle(waiting.answered, waiting.answer)
        self._waiting = still_waiting

    def _fail_all(self, error_code: ErrorCode, reason: str) -> None:
        # (What is being carried out may yet take effect, or have.)
        failed = RequestFailed(error_code, reason)
        self._ended = self._ended or failed
        for event in (*self._carried, *self._events):
            _settle(event.answered, failed)
        for waiting in self._waiting:
            _settle(waiting.answered, failed)
        self._carried = []
        self._events.clear()
        self._waiting.clear()


def _settle(answered: asyncio.Future[ControllerAnswer], answer: ControllerAnswer) -> None:
    """Gives the answer, unless whoever asked has gone."""
    if not answered.done():
        answered.set_result(answer)
