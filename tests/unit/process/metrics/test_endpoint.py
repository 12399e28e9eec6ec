"""The HTTP side of metrics and health, asked over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.process.metrics.views import SERVING, image, samples
from tidelog.limits import METRICS_CONNECTIONS_MAX, METRICS_REQUEST_BYTES_MAX
from tidelog.process.messages import Polled
from tidelog.process.metrics import endpoint as module
from tidelog.process.metrics.endpoint import MetricsEndpoint
from tidelog.process.metrics.samples import NodeState


class Link:
    """Answers polls at once, unless it hangs."""

    def __init__(self, state: NodeState) -> None:
        self.state = state
        self.hangs = False
        self.polls = 0

    def poll(self, full: bool) -> asyncio.Future[Polled]:
        self.polls += 1
        asked = asyncio.get_running_loop().create_future()
        told = samples({"tidelog_connections": [((), 5)]}) if full else None
        if not self.hangs:
            asked.set_result(Polled(full, self.state, told))
        return asked


class Slot:
    """Stands for WorkerSlot."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.pid: int | None = None
        self.deaths = 0
        self.link: Link | None = Link(SERVING)


class Scene:
    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.slots: dict[int, Any] = {1: Slot(1), 2: Slot(2)}
        self.endpoint = MetricsEndpoint(self.sock, self.slots, image)

    async def raw(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        answer = await self.raw(f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, body


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


async def test_health_needs_nobody(scene: Scene) -> None:
    for slot in scene.slots.values():
        slot.link = None
    status, headers, body = await scene.get("/health")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["status"] == "ok"


async def test_ready_when_all_serve_and_not_while_one_does_not(scene: Scene) -> None:
    assert (await scene.get("/ready"))[0] == 200
    scene.slots[2].link.state = NodeState()
    status, _, body = await scene.get("/ready")
    assert status == 503
    assert [node["ready"] for node in json.loads(body)["nodes"]] == [True, False]
    scene.slots[2].link = None
    status, _, body = await scene.get("/ready")
    assert status == 503
    assert json.loads(body)["nodes"][1]["reason"] == "does not answer"


async def test_metrics_of_all_nodes_but_the_one_that_hangs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "METRICS_NODE_TIMEOUT_MS", 10)
    scene.slots[2].link.hangs = True
    status, headers, body = await scene.get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert b'tidelog_connections{node="1"} 5.0' in body
    assert b'tidelog_node_up{node="2"} 0.0' in body
    assert int(headers["content-length"]) == len(body)


async def test_scrapes_that_come_together_share_one(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.get("/metrics") for _ in range(5)))
    assert [status for status, _, _ in answers] == [200] * 5
    assert scene.slots[1].link.polls < 5


async def test_head_has_no_body(scene: Scene) -> None:
    status, headers, body = await scene.get("/health", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405)],
)
async def test_what_is_not_there(scene: Scene, path: str, method: str, status: int) -> None:
    assert (await scene.get(path, method))[0] == status


async def test_a_query_is_ignored(scene: Scene) -> None:
    assert (await scene.get("/health?x=1"))[0] == 200


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", "illegal request line"),
        (b"GET\r\n\r\n", "illegal request line"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "illegal header line"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", "Missing mandatory Host: header"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "multiple Host: headers"),
    ],
)
async def test_what_is_no_request_is_told_so(scene: Scene, data: bytes, told: str) -> None:
    head, _, body = (await scene.raw(data)).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 ")
    assert f"content-length: {len(body)}" in head
    assert told in body


async def test_a_scrape_of_http_1_0_needs_no_host(scene: Scene) -> None:
    assert (await scene.raw(b"GET /health HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_head_that_is_too_long_gets_no_answer(scene: Scene) -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 2 * METRICS_REQUEST_BYTES_MAX
    assert await scene.raw(head + b"\r\n\r\n") == b""


async def test_who_sends_nothing_is_cut_off(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "METRICS_REQUEST_TIMEOUT_MS", 10)
    assert await scene.raw(b"GET / HT") == b""


async def test_beyond_the_limit_connections_are_closed(scene: Scene) -> None:
    held = [
        await asyncio.open_connection("127.0.0.1", scene.port)
        for _ in range(METRICS_CONNECTIONS_MAX)
    ]
    assert await scene.raw(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n") == b""
    for _, writer in held:
        writer.close()
    while (await scene.raw(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")) == b"":
        await asyncio.sleep(0)


async def test_a_failure_of_ours_is_an_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(view: object, accept: str) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(module, "render", fail)
    assert (await scene.get("/metrics"))[0] == 500
    assert "metrics failed" in caplog.text


async def test_who_does_not_read_is_cut_off(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "METRICS_ANSWER_TIMEOUT_MS", 10)
    monkeypatch.setattr(module, "render", lambda view, accept: (b"x" * (64 << 20), "text/plain"))
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
    await reader.readline()
    while scene.endpoint._tasks:
        await asyncio.sleep(0.001)
    rest = await reader.read()
    assert len(rest) < 64 << 20
    writer.close()
