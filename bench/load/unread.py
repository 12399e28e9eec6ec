"""Memory, when many send much and read nothing:

python -m bench.load.unread [--connections 500] [--requests 4] [--megabytes 1] [--budget 64M]

Every connection sends so many produce requests of so many MB, all of them at the same time in
pieces of 64 KiB, and reads no answer before everything is sent. What the broker's processes hold
resident is sampled meanwhile: it may grow by the budget of a worker
(`tidelog.process.max.queued.bytes`) and by what so many connections cost anyway. In the end every
answer is read: nobody was closed, every batch is appended once.
"""

import argparse
import json
import selectors
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

from bench.load.cleaning import size_of
from tidelog.benchmarks import process_stats
from tidelog.benchmarks.batches import sized_batch
from tidelog.benchmarks.cluster import TopicLayout
from tidelog.benchmarks.requests import produce_request
from tidelog.benchmarks.shapes import MEGABYTE
from tidelog.benchmarks.targets import TidelogTarget

BUDGET = "tidelog.process.max.queued.bytes"
PIECE_BYTES = 64 * 1024
RECEIVE_BUFFER_BYTES = 4096
TOPIC, PARTITIONS = "unread", 16
PRODUCE_VERSION = 8
TIMEOUT_S = 120.0
#: Before the error code of the one partition: correlation id, topics, name, partitions, its index.
CODE_AT = 4 + 4 + 2 + len(TOPIC) + 4 + 4


class Sender:
    """One connection and how much of its requests it has sent."""

    def __init__(self, address: tuple[str, int], frame: bytes, requests: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.socket.connect(address)
        self.socket.setblocking(False)
        self._frame = memoryview(frame)
        self._left = requests
        self._at = 0

    def send(self) -> bool:
        """A piece of it; False: that was all."""
        self._at += self.socket.send(self._frame[self._at : self._at + PIECE_BYTES])
        if self._at == len(self._frame):
            self._at = 0
            self._left -= 1
        return self._left > 0

    def answers(self, count: int) -> list[tuple[int, int]]:
        """(error code, base offset) of each, read now."""
        self.socket.settimeout(TIMEOUT_S)
        with self.socket, self.socket.makefile("rb") as answers:
            return [_outcome(answers.read(_length(answers.read(4)))) for _ in range(count)]


def _length(prefix: bytes) -> int:
    if len(prefix) < 4:
        raise SystemExit("the broker has closed a connection")
    return int.from_bytes(prefix, "big")


def _outcome(answer: bytes) -> tuple[int, int]:
    code: int
    base_offset: int
    code, base_offset = struct.unpack_from(">hq", answer, CODE_AT)
    return code, base_offset


class Resident(threading.Thread):
    """The most that a process tree held, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="resident")
        self._pid = pid
        self._end = threading.Event()
        self.most_mb = self.now()

    def now(self) -> float:
        return process_stats.memory([self._pid]).rss / MEGABYTE

    def run(self) -> None:
        while not self._end.wait(0.05):
            self.most_mb = max(self.most_mb, self.now())

    def stop(self) -> None:
        self._end.set()
        self.join()


def send_all(senders: list[Sender]) -> None:
    with selectors.DefaultSelector() as selector:
        for sender in senders:
            selector.register(sender.socket, selectors.EVENT_WRITE, sender)
        deadline = time.monotonic() + TIMEOUT_S
        while selector.get_map():
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(selector.get_map())} connections could not send all")
            for key, _ in selector.select(1.0):
                if not key.data.send():
                    selector.unregister(key.fileobj)


def measure(
    target: TidelogTarget, connections: int, requests: int, megabytes: float
) -> dict[str, float]:
    """MB of all processes of the broker: before, with the connections, at the most."""
    layout: TopicLayout = target.cluster().create_topic(TOPIC, PARTITIONS)
    batch = sized_batch(int(megabytes * (1 << 20)), 0, record_bytes=1024)
    frames = [
        produce_request(PRODUCE_VERSION, {TOPIC: {index: batch}}).frame
        for index in range(PARTITIONS)
    ]
    resident = Resident(target.pid)
    found = {"before MB": resident.now()}
    senders = [
        Sender(layout.leaders[at % PARTITIONS], frames[at % PARTITIONS], requests)
        for at in range(connections)
    ]
    found["connected MB"] = resident.now()
    resident.start()
    began = time.perf_counter()
    send_all(senders)
    took_s = time.perf_counter() - began
    outcomes: dict[int, list[int]] = {index: [] for index in range(PARTITIONS)}
    for at, sender in enumerate(senders):
        for code, base_offset in sender.answers(requests):
            if code:
                raise SystemExit(f"a batch was refused with {code}")
            outcomes[at % PARTITIONS].append(base_offset)
    resident.stop()
    for found_offsets in outcomes.values():
        expected = range(0, len(found_offsets) * batch.record_count, batch.record_count)
        if sorted(found_offsets) != list(expected):
            raise SystemExit("a batch was appended twice, or not at all")
    found["most MB"] = resident.most_mb
    found["grown MB"] = resident.most_mb - found["before MB"]
    found["MB/s"] = connections * requests * megabytes * (1 << 20) / MEGABYTE / took_s
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--requests", type=int, default=4, help="of each connection")
    parser.add_argument("--megabytes", type=float, default=1.0, help="max.message.bytes at most")
    parser.add_argument("--budget", default="64M", help="tidelog.process.max.queued.bytes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory(prefix="tidelog-unread-") as folder,
        TidelogTarget(Path(folder), settings=(f"{BUDGET}={size_of(args.budget)}",)) as target,
    ):
        found = measure(target, args.connections, args.requests, args.megabytes)
    for name, value in found.items():
        print(f"{name:14} {value:10,.1f}")
    if args.json is not None:
        args.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
