"""`tidelog serve` with a stub in the place of the Kafka node, to test processes without anything
else.

The stub speaks lines on its listening sockets: each request is one line, each answer one.
`tests/recovery/test_process_*.py` run this file as a program; the options are those of `tidelog
serve`.

| line | answer |
|---|---|
| ping | `node=N pid=P epoch=E version=V topics=a,b` |
| create NAME | the error code of CreateTopics |
| static KEY | the config's text |
| crash, exit STATUS, hang, fail | the process ends in that way, or never does anything again |
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from tidelog.controller.requests import CreateTopics, CreateTopicsAnswer, NewTopic
from tidelog.errors import InvariantError, StorageError
from tidelog.metadata.image import MetadataImage
from tidelog.process import serve
from tidelog.process.worker_process import NodeSetup, run_worker


class StubNode:
    """Serves the lines. Files in its directory tell it what to do at start: `fail`, `crash`,
    `slow`.
    """

    def __init__(self, setup: NodeSetup) -> None:
        self.setup = setup
        self.servers: list[asyncio.Future[asyncio.Server]] = []
        self.applied: set[str] = set()

    async def start(self, image: MetadataImage) -> None:
        if (self.setup.directories[0] / "fail").exists():
            raise StorageError("the stub's disk\nis broken")
        if (self.setup.directories[0] / "crash").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        (self.setup.directories[0] / "clean").unlink(missing_ok=True)
        self.applied = set(image.topics)

    async def apply(self, old: MetadataImage, new: MetadataImage) -> None:
        while (self.setup.directories[0] / "slow").exists():
            await asyncio.sleep(0.01)
        self.applied = set(new.topics)

    def serve(self) -> None:
        for _, sock in self.setup.listeners:
            self.servers.append(
                asyncio.ensure_future(asyncio.start_server(self._client, sock=sock))
            )

    async def hand_over(self) -> None:
        return

    async def stop(self, grace_ms: int) -> None:
        (self.setup.directories[0] / "clean").write_text(f"{grace_ms}\n")

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            command, _, rest = line.decode().strip().partition(" ")
            answer = await self._answer(command, rest)
            writer.write(answer.encode() + b"\n")
        writer.close()

    async def _answer(self, command: str, rest: str) -> str:
        image = self.setup.metadata.image
        match command:
            case "ping":
                return (
                    f"node={self.setup.node_id} pid={os.getpid()} epoch={self.setup.node_epoch}"
                    f" version={image.version} topics={','.join(sorted(self.applied))}"
                )
            case "create":
                request = CreateTopics((NewTopic(rest),))
                answer = await self.setup.controller.request(request, 20_000)
                assert isinstance(answer, CreateTopicsAnswer), answer
                return str(answer.topics[0].error_code)
            case "static":
                return self.setup.static.get(rest, "")
            case "endpoints":
                return repr([node.endpoints for node in image.alive_nodes()])
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(int(rest))
            case "bug":
                asyncio.get_running_loop().call_soon(_raise)
                await asyncio.sleep(60)
            case "hang":
                time.sleep(600)
        return "?"


def _raise() -> None:
    raise InvariantError("on purpose")


def stub_main(control: object, listening: list[object]) -> int:
    return run_worker(control, listening, StubNode)  # type: ignore[arg-type]


if __name__ == "__main__":
    serve.load_worker = lambda: stub_main  # type: ignore[assignment]
    sys.exit(serve.main(sys.argv[1:]))
