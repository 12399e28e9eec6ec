"""Topics that come into being by use: auto.create.topics.enable, and the broker's internal topics.

Belongs to the worker's loop task. Requests that want the same topic at the same time (every client
of a new topic asks within the same moment) share one request to the controller. Counts and configs
are the controller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tidelog.controller.client import ControllerClient
from tidelog.controller.requests import CreateTopics, CreateTopicsAnswer, NewTopic
from tidelog.errors import KafkaError
from tidelog.handlers.controller_calls import ask_controller
from tidelog.protocol.error_codes import ErrorCode

#: How long a client's Metadata or FindCoordinator request is held for a creation before it is told
#: to ask again.
CREATION_TIMEOUT_MS = 5_000


class TopicCreation:
    """Creates topics on first use, each at most once at a time."""

    def __init__(self, controller: ControllerClient, timeout_ms: int = CREATION_TIMEOUT_MS) -> None:
        self._controller = controller
        self._timeout_ms = timeout_ms
        self._pending: dict[str, asyncio.Task[dict[str, int]]] = {}

    async def create(self, names: Iterable[str]) -> dict[str, int]:
        """Create topics; error code by name, 0 when the topic is there and its leaders serve.

        A topic that somebody else created just now counts as 0 too, though this node may not know
        it yet.
        """
        wanted = tuple(dict.fromkeys(names))
        fresh = [name for name in wanted if name not in self._pending]
        if fresh:
            task = asyncio.create_task(self._ask(fresh))
            self._pending |= dict.fromkeys(fresh, task)
            task.add_done_callback(lambda _: self._forget(fresh))
        tasks = {name: self._pending[name] for name in wanted}
        codes: dict[str, int] = {}
        for name, task in tasks.items():
            # Shielded: a client that goes away must not take the creation with it that others wait
            # for.
            codes[name] = (await asyncio.shield(task))[name]
        return codes

    def _forget(self, names: list[str]) -> None:
        for name in names:
            del self._pending[name]

    async def _ask(self, names: list[str]) -> dict[str, int]:
        request = CreateTopics(tuple(NewTopic(name) for name in names), automatic=True)
        try:
            answer = await ask_controller(
                self._controller, request, CreateTopicsAnswer, self._timeout_ms
            )
        except KafkaError as error:
            return dict.fromkeys(names, error.error_code)
        return {
            topic.name: 0
            if topic.error_code == ErrorCode.TOPIC_ALREADY_EXISTS
            else topic.error_code
            for topic in answer.topics
        }
