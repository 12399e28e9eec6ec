"""What the rest of a node sees of the controller: one coroutine.

Owned by the worker's composition root, which gives it the control channel; handlers and managers
only know this contract.
"""

from __future__ import annotations

from typing import Protocol

from tidelog.controller.requests import ControllerAnswer, ControllerRequest
from tidelog.errors import TidelogError


class ControllerTimeout(TidelogError):
    """No answer in time, or the controller is not reachable. The request may still be carried out
    later.
    """


class ControllerClient(Protocol):
    """Sends requests of this node to the controller of the cluster."""

    async def request(self, request: ControllerRequest, timeout_ms: int) -> ControllerAnswer:
        """The controller's answer, given when every live node has applied what was decided.

        Raises ControllerTimeout. A `RequestFailed` answer says that nothing was changed.
        """
        ...
