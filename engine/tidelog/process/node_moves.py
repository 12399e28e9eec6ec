"""Fewer nodes than before: what the others get, and in which order it becomes true.

Runs in the supervisor before any worker starts. The plan is committed first, then the folders are
renamed, then the metadata says so: a supervisor that is killed in between leaves the plan, and the
next one carries it out before anything else, whatever number of workers it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from tidelog.clock import Clock
from tidelog.controller.requests import (
    ControllerRequest,
    Done,
    FinishMoves,
    PlanMoves,
    RemoveNode,
)
from tidelog.errors import StorageError
from tidelog.limits import NODE_LOCK_TIMEOUT_MS
from tidelog.process.control import Control
from tidelog.process.data_directory import DataDirectory
from tidelog.storage.directory import DirectoryInUseError
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.relocation import MovedLog, relocate_all

log: Final = logging.getLogger(__name__)

_LOCK_RETRY_S: Final = 0.05


class MoveError(StorageError):
    """Logs cannot be moved. The message is one line for the user."""


class NodeMoves:
    """See the module."""

    def __init__(
        self,
        control: Control,
        directory: DataDirectory,
        clock: Clock,
        files: Files = SYSTEM_FILES,
    ) -> None:
        self._control = control
        self._directory = directory
        self._clock = clock
        self._files = files

    async def leave(self, surplus: tuple[int, ...], remaining: tuple[int, ...]) -> None:
        """The surplus nodes give their logs to the remaining ones and are forgotten; what else is
        in their folders stays. Raises MoveError.
        """
        if not surplus:
            return
        await self._ask(PlanMoves(surplus, remaining))
        await self.finish()
        for node_id in surplus:
            await self._ask(RemoveNode(node_id))
            self._directory.remove_node(node_id)
        self._directory.save()

    async def forget(self, surplus: tuple[int, ...]) -> None:
        """Among several hosts: the surplus nodes are forgotten if they hold nothing any more; what
        they hold may be led elsewhere, so that renaming folders does not do. Raises MoveError.
        """
        for node_id in surplus:
            if node_id in self._control.image.nodes:
                try:
                    await self._ask(RemoveNode(node_id))
                except MoveError as error:
                    raise MoveError(
                        f"{error}; move what it holds to other nodes first"
                        " (kafka-reassign-partitions)"
                    ) from error
            self._directory.remove_node(node_id)
        if surplus:
            self._directory.save()

    async def finish(self) -> None:
        """Carries out what is planned, maybe by a supervisor that was killed. Raises MoveError."""
        image = self._control.image
        if not image.moves:
            return
        by_nodes: dict[tuple[int, int], list[MovedLog]] = {}
        for move in image.moves.values():
            topic = image.topic_by_id(move.topic_id)
            if topic is not None:
                moved = MovedLog(topic.name, topic.topic_id, move.partition)
                by_nodes.setdefault((move.source, move.target), []).append(moved)
        for (source, target), logs in sorted(by_nodes.items()):
            folders = await self._relocate(source, target, logs)
            log.warning(
                "logs moved from=%d to=%d logs=%d folders=%d", source, target, len(logs), folders
            )
        await self._ask(FinishMoves())

    async def _relocate(self, source: int, target: int, logs: list[MovedLog]) -> int:
        old, new = ([str(path) for path in self._directory.node_paths(n)] for n in (source, target))
        deadline_ms = self._clock.monotonic_ms() + NODE_LOCK_TIMEOUT_MS
        while True:
            try:
                return await asyncio.to_thread(relocate_all, self._files, old, new, logs)
            except DirectoryInUseError as error:
                # A worker of a supervisor that was killed is about to end.
                if self._clock.monotonic_ms() >= deadline_ms:
                    raise MoveError(str(error)) from error
                await asyncio.sleep(_LOCK_RETRY_S)
            except OSError as error:
                raise MoveError(
                    f"logs of node {source} cannot be moved to node {target}: {error}"
                ) from error

    async def _ask(self, request: ControllerRequest) -> None:
        answer = await self._control.submit(request, when_committed=True)
        if not isinstance(answer, Done) or answer.error_code:
            raise MoveError(f"the metadata cannot be changed: {answer}")
