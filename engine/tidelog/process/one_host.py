"""The controller in the supervisor's own process, its store in the data directory."""

from __future__ import annotations

import asyncio
import random

from tidelog.clock import Clock
from tidelog.controller.machine import Controller
from tidelog.controller.requests import ControllerAnswer, ControllerRequest
from tidelog.controller.runtime import ControllerRuntime
from tidelog.metadata.image import MetadataImage
from tidelog.metastore.contract import DamagedStoreError
from tidelog.metastore.local import LocalMetastore, load_image
from tidelog.process.control import Control, ControlOwner
from tidelog.process.data_directory import DataDirectory, DataDirectoryError, rebuild_hint


class OneHost(Control):
    """See the module. static: broker configs by name."""

    def __init__(
        self, directory: DataDirectory, static: dict[str, str], owner: ControlOwner, clock: Clock
    ) -> None:
        self._owner = owner
        try:
            store = LocalMetastore(directory.store_path)
            image = load_image(store)
        except DamagedStoreError as error:
            raise DataDirectoryError(f"{error}; {rebuild_hint(directory.path)}") from error
        if not image.cluster_id:
            directory.check_no_logs("holds nothing")
        self._runtime = ControllerRuntime(
            Controller(static), store, image, owner.delta, clock, random.SystemRandom()
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def image(self) -> MetadataImage:
        return self._runtime.image

    @property
    def leads(self) -> bool:
        return True

    async def start(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._runtime.run())
        self._running.add_done_callback(self._ended)

    def submit(
        self, request: ControllerRequest, *, when_committed: bool = False
    ) -> asyncio.Future[ControllerAnswer]:
        return self._runtime.submit(request, when_committed=when_committed)

    def node_version(self, node_id: int, version: int) -> None:
        self._runtime.node_version(node_id, version)

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._runtime.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._owner.control_failed(f"the controller failed: {type(error).__name__}: {error}")
