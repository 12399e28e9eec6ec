"""Peers that harm: many connections of many bad kinds to one broker, in a process of their own.

    python -m tests.recovery.hostile_peers ADDRESS[,ADDRESS...] [--connections 3000] [--seed 1]

Writes `attacking N` when every peer has been connected once, goes on until standard input ends,
then writes one line of JSON: what each kind saw. A peer whose connection is closed comes again
after a second, so that the broker always has all of them. Owned by hostile.py; connects to nothing
but the addresses that it is given.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import resource
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import uvloop

from tests.oracle.record.batches import patched, raw_batch, raw_record, sealed, zigzag
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import encode_request_frame
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.metadata import MetadataRequest
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tidelog.record.compression import Codec, compress

#: The topic that everybody may read, and the one whose batches have to be opened.
TOPIC: Final = "hostile"
OPENED_TOPIC: Final = "opened"
PARTITIONS: Final = 4
OPENED_PARTITIONS: Final = 2
#: What some of them wait, on purpose, between two bytes; and all before they come again.
BYTE_EVERY_S: Final = 1.0
AGAIN_AFTER_S: Final = 0.6
Address = tuple[str, int]

_NO_TIME: Final = struct.pack("ii", 1, 0)


class Peer:
    """One connection, and what goes over it."""

    def __init__(self, number: int, rng: random.Random, counts: Counter[str], kind: str) -> None:
        self.number = number
        self.rng = rng
        self.kind = kind
        self.socket: socket.socket | None = None
        self._counts = counts
        self._loop = asyncio.get_running_loop()

    def count(self, what: str, n: int = 1) -> None:
        self._counts[f"{self.kind} {what}"] += n

    async def connect(self, address: Address, receive_buffer_bytes: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        await self._loop.sock_connect(self.socket, address)
        self.count("connected")

    async def send(self, data: bytes) -> None:
        assert self.socket is not None
        await self._loop.sock_sendall(self.socket, data)
        self.count("bytes sent", len(data))

    async def receive(self, n: int = 65536) -> bytes:
        assert self.socket is not None
        data = await self._loop.sock_recv(self.socket, n)
        if not data:
            raise ConnectionResetError
        self.count("bytes received", len(data))
        return data

    async def stay(self) -> None:
        """Until the broker closes the connection; nothing is sent."""
        while True:
            await self.receive()

    def close(self, *, hard: bool = False) -> None:
        if self.socket is not None:
            if hard:  # RST
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_TIME)
            self.socket.close()


# --- what they send ------------------------------------------------------------------------------


def metadata(correlation_id: int = 1) -> bytes:
    return encode_request_frame(MetadataRequest(topics=None), 9, correlation_id, "hostile")


def api_versions(correlation_id: int = 1) -> bytes:
    return encode_request_frame(ApiVersionsRequest(), 3, correlation_id, "hostile")


def fetch(max_wait_ms: int = 0, min_bytes: int = 1) -> bytes:
    partitions = [
        FetchPartition(partition=i, fetch_offset=0, partition_max_bytes=1 << 20)
        for i in range(PARTITIONS)
    ]
    return encode_request_frame(
        FetchRequest(
            max_wait_ms=max_wait_ms,
            min_bytes=min_bytes,
            topics=[FetchTopic(topic=TOPIC, partitions=partitions)],
        ),
        11,
        1,
        "hostile",
    )


def produce(batch: bytes, topic: str) -> bytes:
    # One of them is led by the node that is asked.
    data = [PartitionProduceData(index=i, records=batch) for i in range(OPENED_PARTITIONS)]
    return encode_request_frame(
        ProduceRequest(
            acks=-1,
            timeout_ms=1000,
            topic_data=[TopicProduceData(name=topic, partition_data=data)],
        ),
        8,
        1,
        "hostile",
    )


def join_group(group: str, metadata_bytes: int) -> bytes:
    protocol = JoinGroupRequestProtocol(name="range", metadata=bytes(metadata_bytes))
    request = JoinGroupRequest(
        group_id=group,
        session_timeout_ms=300_000,
        rebalance_timeout_ms=300_000,
        member_id="",
        protocol_type="consumer",
        protocols=[protocol],
    )
    return encode_request_frame(request, 3, 1, "hostile")


def bomb(codec: Codec, payload_bytes: int) -> bytes:
    """A batch of one record whose value are very many zeros."""
    payload = raw_record(value=zigzag(payload_bytes) + bytes(payload_bytes))
    plain = raw_batch(count=1, tail=compress(codec, payload))
    return sealed(patched(plain, 21, ">h", codec))


def header(size: int, api_key: int = ApiKey.METADATA) -> bytes:
    """The size and a request header that is sound but for it."""
    return struct.pack(">ihhih", size, api_key, 9, 1, -1)


# --- the kinds -----------------------------------------------------------------------------------


async def silent(peer: Peer) -> None:
    await peer.stay()


async def idle(peer: Peer) -> None:
    """Asks once, as a client does that then has nothing to do."""
    await peer.send(api_versions() + metadata())
    await peer.stay()


async def half_a_batch(peer: Peer) -> None:
    """Much of a large request, and never the rest."""
    await peer.send(header(100 << 20, ApiKey.PRODUCE) + bytes(1 << 20))
    await peer.stay()


async def deaf(peer: Peer) -> None:
    """Asks for all that it can, and reads nothing of it."""
    burst = (metadata() + fetch()) * 10
    while True:
        await peer.send(burst)


async def large_members(peer: Peer) -> None:
    """Joins groups with more than anybody has to say, and never comes back to them."""
    for number in itertools.count():
        metadata_bytes = (12 << 20, 3 << 20)[number % 2]
        await peer.send(join_group(f"hostile-{peer.rng.randrange(100)}", metadata_bytes))
        reading = asyncio.ensure_future(peer.receive())
        # Who is taken in waits for its round. It does not see it.
        await asyncio.wait([reading], timeout=2.0)
        if not reading.done():
            reading.cancel()
            raise ConnectionResetError
        reading.result()


async def half_a_header(peer: Peer) -> None:
    await peer.send(header(200)[: peer.rng.randrange(1, 12)])
    await peer.stay()


async def a_byte_a_second(peer: Peer) -> None:
    """Of a frame that is as large as a frame may be: the broker must not make room for it."""
    await peer.send(header(100 << 20, ApiKey.PRODUCE))
    while True:
        await peer.send(b"\0")
        await asyncio.sleep(BYTE_EVERY_S)


async def huge_length(peer: Peer) -> None:
    await peer.send(header(peer.rng.choice([0x7FFFFFFF, (100 << 20) + 1])))
    await peer.stay()


async def negative_length(peer: Peer) -> None:
    await peer.send(header(peer.rng.choice([-1, -(1 << 31)])))
    await peer.stay()


async def unknown_api(peer: Peer) -> None:
    key, version = peer.rng.choice([(-1, 0), (5, 0), (99, 1), (32767, 0), (ApiKey.METADATA, 99)])
    body = struct.pack(">hhih", key, version, 1, -1)
    await peer.send(struct.pack(">i", len(body)) + body)
    await peer.stay()


async def rubbish(peer: Peer) -> None:
    body = peer.rng.randbytes(peer.rng.randrange(1, 2000))
    whole = peer.rng.random() < 0.5
    await peer.send((struct.pack(">i", len(body)) if whole else b"") + body)
    await peer.stay()


async def never_reads(peer: Peer) -> None:
    requests = [metadata(), fetch(), api_versions(), fetch(max_wait_ms=600_000, min_bytes=1 << 30)]
    while True:
        await peer.send(peer.rng.choice(requests) * 20)


async def flood(peer: Peer) -> None:
    """As many requests as go, and every answer is taken."""
    burst = (metadata() + api_versions()) * 50
    reading = asyncio.ensure_future(peer.stay())
    try:
        while not reading.done():
            await peer.send(burst)
    finally:
        reading.cancel()


async def bombs(peer: Peer) -> None:
    while True:
        await peer.send(produce(peer.rng.choice(_made_bombs()), OPENED_TOPIC))
        await peer.receive()


async def resets(peer: Peer) -> None:
    """Goes with RST while its answers are on the way."""
    await peer.send(metadata() * 10 + fetch() * 10)
    await peer.receive(peer.rng.randrange(1, 5000))
    peer.close(hard=True)
    await asyncio.sleep(peer.rng.random() / 4)
    raise ConnectionResetError


async def half_open(peer: Peer) -> None:
    """Shuts its sending side down and reads nothing more."""
    assert peer.socket is not None
    await peer.send(metadata() * 5)
    peer.socket.shutdown(socket.SHUT_WR)
    await asyncio.sleep(3600)


Kind = Callable[[Peer], Awaitable[None]]
KINDS: Final[tuple[Kind, ...]] = (
    silent,
    half_a_header,
    a_byte_a_second,
    huge_length,
    negative_length,
    unknown_api,
    rubbish,
    never_reads,
    flood,
    bombs,
    resets,
    half_open,
)
#: By the names that may be asked for; the last ones only when they are.
BY_NAME: Final = {kind.__name__: kind for kind in (*KINDS, idle, deaf, half_a_batch, large_members)}
#: Kinds that do not read have small buffers: the broker's memory is wanted, not the kernel's.
_SMALL_BUFFER: Final = {"never_reads": 4096, "half_open": 4096, "deaf": 4096}
_bombs: list[bytes] = []


def _made_bombs() -> list[bytes]:
    if not _bombs:
        # Beyond what is opened, and what is opened all the same.
        _bombs.extend(bomb(codec, 24 << 20) for codec in (Codec.GZIP, Codec.ZSTD, Codec.LZ4))
        _bombs.extend(bomb(codec, 12 << 20) for codec in (Codec.GZIP, Codec.ZSTD))
        _bombs.append(bomb(Codec.SNAPPY, 2 << 20))
    return _bombs


# --- all of them ---------------------------------------------------------------------------------


class Attack:
    """`connections` peers, the kinds in turn, spread over the addresses."""

    def __init__(
        self, addresses: list[Address], connections: int, seed: int, kinds: Sequence[Kind] = KINDS
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._kinds = kinds
        self._addresses = addresses
        self._rng = random.Random(seed)
        self._connections = connections
        self._connected = 0
        self._all_connected = asyncio.Event()

    async def start(self) -> list[asyncio.Task[None]]:
        """Returns when each has been connected once."""
        if bombs in self._kinds:
            _made_bombs()
        tasks = []
        for number in range(self._connections):
            kind = self._kinds[number % len(self._kinds)]
            rng = random.Random(self._rng.random())
            tasks.append(asyncio.create_task(self._come_again(number, kind, rng)))
            if number % 100 == 99:
                await asyncio.sleep(0.02)
        await self._all_connected.wait()
        return tasks

    async def _come_again(self, number: int, kind: Kind, rng: random.Random) -> None:
        address = self._addresses[number // len(self._kinds) % len(self._addresses)]
        first = True
        while True:
            peer = Peer(number, rng, self.counts, kind.__name__)
            try:
                await peer.connect(address, _SMALL_BUFFER.get(kind.__name__, 0))
                if first:
                    first = False
                    self._connected += 1
                    if self._connected == self._connections:
                        self._all_connected.set()
                await kind(peer)
            except OSError as error:
                if peer.socket is None or isinstance(error, ConnectionRefusedError):
                    peer.count("refused")
                else:
                    peer.count("closed")
            finally:
                peer.close()
            await asyncio.sleep(AGAIN_AFTER_S * (1 + rng.random()))


def raise_descriptor_limit(connections: int) -> None:
    """Raises OSError when the machine does not allow so many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < connections + 100:
        raise OSError(f"{connections} connections need more than {hard} open files (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def attack(
    addresses: list[Address], connections: int, seed: int, kinds: Sequence[Kind]
) -> None:
    attacking = Attack(addresses, connections, seed, kinds)
    tasks = await attacking.start()
    print(f"attacking {connections}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    print(json.dumps(attacking.counts, sort_keys=True), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("addresses")
    parser.add_argument("--connections", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default="", help="names with commas; all when left out")
    args = parser.parse_args()
    kinds = [BY_NAME[name] for name in args.kinds.split(",")] if args.kinds else KINDS
    raise_descriptor_limit(args.connections)
    addresses = []
    for address in args.addresses.split(","):
        host, _, port = address.rpartition(":")
        addresses.append((host, int(port)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(attack(addresses, args.connections, args.seed, kinds))


if __name__ == "__main__":
    main()
