"""Requests between nodes: order, errors, timeouts, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import NodeRecord
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_request, encode_response_frame
from tidelog.protocol.headers import parse_request_header
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from tidelog.protocol.schema import Request, Response
from tidelog.replication.peer_client import PeerClient, PeerUnavailableError

#: (correlation id, request) -> the bytes of the answer; None: no answer; "": the connection ends.
Answer = Callable[[int, WriteTxnMarkersRequest], bytes | None]


class Peer:
    """Another node."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.seen: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
                header = parse_request_header(frame)
                assert header.api_key == ApiKey.WRITE_TXN_MARKERS
                request = decode_request(
                    header.api_key, header.api_version, frame, header.body_offset
                )
                assert isinstance(request, WriteTxnMarkersRequest)
                self.seen.append(request.markers[0].producer_id)
                answer = self.answer(header.correlation_id, request)
                if answer == b"":
                    return
                if answer:
                    writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def marker(producer_id: int) -> WriteTxnMarkersRequest:
    return WriteTxnMarkersRequest(markers=[WritableTxnMarker(producer_id=producer_id)])


def echo(correlation_id: int, request: WriteTxnMarkersRequest) -> bytes:
    answer = WriteTxnMarkersResponse(
        markers=[WritableTxnMarkerResult(producer_id=one.producer_id) for one in request.markers]
    )
    return encode_response_frame(answer, 1, correlation_id)


@asynccontextmanager
async def cluster(
    answer: Answer, timeout_ms: int = 20_000
) -> AsyncIterator[tuple[PeerClient, Peer]]:
    peer = Peer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    image = MetadataImage.from_records([NodeRecord(2, 0, None, (), "127.0.0.1", port, False)], 1)
    client = PeerClient(1, lambda: image, timeout_ms)
    try:
        yield client, peer
    finally:
        await client.close()
        server.close()


def producer_of(response: Response) -> int:
    assert isinstance(response, WriteTxnMarkersResponse)
    return response.markers[0].producer_id


async def test_many_at_once_share_a_connection() -> None:
    async with cluster(echo) as (client, peer):
        answers = await asyncio.gather(*(client.request(2, marker(i), 1) for i in range(200)))
        assert [producer_of(answer) for answer in answers] == list(range(200))
        assert peer.connections == 1


async def test_an_ended_connection_fails_who_waits_and_is_made_anew() -> None:
    async with cluster(lambda i, r: b"" if r.markers[0].producer_id == 1 else None) as (
        client,
        peer,
    ):
        waiting = [asyncio.ensure_future(client.request(2, marker(i), 1)) for i in (0, 1)]
        for one in waiting:
            with pytest.raises(PeerUnavailableError):
                await one
        peer.answer = echo
        assert producer_of(await client.request(2, marker(5), 1)) == 5
        assert peer.connections == 2


async def test_no_answer_in_time() -> None:
    async with cluster(lambda i, r: None, timeout_ms=30) as (client, peer):
        with pytest.raises(PeerUnavailableError):
            await client.request(2, marker(1), 1)
        # What comes late must not be taken for the answer to something else.
        peer.answer = echo
        assert producer_of(await client.request(2, marker(2), 1)) == 2
        assert peer.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda i, r: b"\x7f\xff\xff\xff",
        lambda i, r: b"\xff\xff\xff\xff",
        lambda i, r: echo(i + 1, r),
        lambda i, r: b"\x00\x00\x00\x05garba",
    ],
    ids=["too large", "negative", "another's", "garbage"],
)
async def test_rubbish_ends_the_connection(answer: Answer) -> None:
    async with cluster(answer) as (client, peer):
        with pytest.raises(PeerUnavailableError):
            await client.request(2, marker(1), 1)
        peer.answer = echo
        assert producer_of(await client.request(2, marker(2), 1)) == 2


async def test_nobody_there() -> None:
    async with cluster(echo) as (client, _):
        with pytest.raises(PeerUnavailableError):
            await client.request(3, marker(1), 1)
    image = MetadataImage.from_records([NodeRecord(2, 0, None, (), "127.0.0.1", 1, False)], 1)
    client = PeerClient(1, lambda: image, 1000)
    with pytest.raises(PeerUnavailableError):
        await client.request(2, marker(1), 1)
    await client.close()


async def test_its_own_node_is_asked_without_a_connection() -> None:
    async def local(request: Request, version: int) -> Response:
        assert version == 2
        return WriteTxnMarkersResponse(markers=[WritableTxnMarkerResult(producer_id=9)])

    async with cluster(echo) as (client, peer):
        client.local = local
        assert producer_of(await client.request(1, marker(1), 2)) == 9
        assert peer.connections == 0


async def test_closing_fails_who_waits() -> None:
    arrived = asyncio.Event()

    def never(correlation_id: int, request: WriteTxnMarkersRequest) -> None:
        arrived.set()

    async with cluster(never) as (client, _):
        waiting = asyncio.ensure_future(client.request(2, marker(1), 1))
        await arrived.wait()
        await client.close()
        with pytest.raises(PeerUnavailableError):
            await waiting
        with pytest.raises(PeerUnavailableError):
            await client.request(2, marker(1), 1)
