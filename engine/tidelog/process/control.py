"""What the supervisor sees of the controller, whether that is in its own process or on another
host.

`OneHost` (one_host.py) runs it here on the store in the data directory; `HostCluster`
(hosts/cluster.py) wherever the cluster's hosts have it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol

from tidelog.controller.requests import ControllerAnswer, ControllerRequest
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.process.node_report import NodeReport


class ControlOwner(Protocol):
    """What the supervisor does about the metadata, and tells about its nodes. Called on the loop;
    none of it may block or raise.
    """

    def delta(self, version: int, records: list[ChangeRecord]) -> None:
        """The image has just become the next one."""

    def replaced(self) -> None:
        """The image has just become another, later one."""

    def reports(self) -> tuple[NodeReport, ...]:
        """What the nodes of this host are at."""

    def control_failed(self, reason: str) -> None:
        """The metadata cannot be trusted any more: the broker has to stop."""


class Control(ABC):
    """See the module. Lives on the supervisor's loop."""

    @property
    @abstractmethod
    def image(self) -> MetadataImage:
        """The latest image that is known here."""

    @property
    @abstractmethod
    def leads(self) -> bool:
        """Whether the controller is in this process, so that its timers have to run here."""

    @abstractmethod
    async def start(self) -> None:
        """Returns when there is an image. Raises StorageError."""

    @abstractmethod
    def submit(
        self, request: ControllerRequest, *, when_committed: bool = False
    ) -> asyncio.Future[ControllerAnswer]:
        """Asks the controller. The future gets the answer when every live node has applied what it
        led to, or as soon as that is committed. It never fails: RequestFailed is an answer, too.
        """

    @abstractmethod
    def node_version(self, node_id: int, version: int) -> None:
        """The node of this host works with that version; answers wait for it from now on. -1: they
        don't any more.
        """

    @abstractmethod
    async def close(self) -> None:
        """Gives everything up. May be called without `start`."""
