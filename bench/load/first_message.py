"""How soon a new subscriber has its first record: python -m bench.load.first_message [--count 10]

For each client, in a process that runs already: a new consumer with default settings (but
auto.offset.reset=earliest) in a new group subscribes to a topic that has records. Measured is the
time from subscribe() to the first record, on one worker. The first time in a process, with all
that a client loads then, is shown apart. Where the median is over --limit-ms, the requests of one
more time are printed as a proxy between client and broker saw them: what the broker took for each
answer, and what the client let pass between them.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread

import aiokafka
import confluent_kafka
from confluent_kafka import admin as confluent

from tests.compat.programs import ProgramMissing, franz_go
from tests.compat.reference import ReferenceMissing
from tests.compat.reference.install import install
from tests.house.broker import ServedBroker
from tidelog.protocol.api import ApiKey

TOPIC = "existing"
TIMEOUT_S = 60
#: (milliseconds to the first record, to the assignment)
Times = list[tuple[float, float]]


def confluent_first(bootstrap: str, count: int) -> Times:
    found = []
    for _ in range(count):
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"first-{uuid.uuid4()}",
                "auto.offset.reset": "earliest",
            }
        )
        assigned: list[float] = []
        began = time.perf_counter()
        consumer.subscribe(
            [TOPIC], on_assign=lambda *_, at=assigned: at.append(time.perf_counter())
        )
        while (message := consumer.poll(1.0)) is None or message.error():
            pass
        found.append(((time.perf_counter() - began) * 1e3, (assigned[0] - began) * 1e3))
        consumer.close()
    return found


def aiokafka_first(bootstrap: str, count: int) -> Times:
    async def run() -> Times:
        found = []
        for _ in range(count):
            consumer = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=bootstrap,
                group_id=f"first-{uuid.uuid4()}",
                auto_offset_reset="earliest",
            )
            began = time.perf_counter()
            consumer.subscribe([TOPIC])
            await consumer.start()
            assigned = time.perf_counter()
            await consumer.getone()
            found.append(((time.perf_counter() - began) * 1e3, (assigned - began) * 1e3))
            await consumer.stop()
        return found

    return asyncio.run(run())


def program_first(command: list[str]) -> Callable[[str, int], Times]:
    def run(bootstrap: str, count: int) -> Times:
        words = [*command, "--bootstrap", bootstrap, "--topic", TOPIC]
        words += ["--first" if "GroupMember" in command else "--count", str(count)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return [(line["ms"], line["assigned_ms"]) for line in lines]

    return run


def clients() -> dict[str, Callable[[str, int], Times]]:
    """What can be run here, by name."""
    found = {"confluent-kafka": confluent_first, "aiokafka": aiokafka_first}
    try:
        java = install().command("GroupMember", heap_mb=128, full_speed=True)
        found["java classic"] = program_first(java)
        found["java consumer"] = program_first([*java, "--protocol", "consumer"])
    except ReferenceMissing as missing:
        print(f"left out: java: {missing}", file=sys.stderr)
    try:
        found["franz-go"] = program_first([*franz_go(), "first"])
    except ProgramMissing as missing:
        print(f"left out: {missing}", file=sys.stderr)
    return found


@dataclass
class Proxy:
    """Passes bytes on between clients and a broker on this host, and notes requests and answers."""

    port: int
    broker_port: int
    #: (seconds, request, the answer's delay in seconds or None) in the order of requests.
    seen: list[list[object]] = field(default_factory=list)

    def serve(self) -> None:
        server = socket.create_server(("127.0.0.1", self.port))
        while True:
            client, _ = server.accept()
            broker = socket.create_connection(("127.0.0.1", self.broker_port))
            for each in (client, broker):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting: dict[int, list[object]] = {}
            Thread(target=self._up, args=(client, broker, waiting), daemon=True).start()
            Thread(target=self._down, args=(broker, client, waiting), daemon=True).start()

    def _up(
        self, client: socket.socket, broker: socket.socket, waiting: dict[int, list[object]]
    ) -> None:
        with contextlib.suppress(OSError, struct.error):
            for frame in frames(client):
                api_key, version, correlation_id = struct.unpack_from(">hhi", frame, 4)
                name = f"{ApiKey(api_key).name} {version}"
                waiting[correlation_id] = [time.monotonic(), name, None]
                self.seen.append(waiting[correlation_id])
                broker.sendall(frame)
        broker.close()

    def _down(
        self, broker: socket.socket, client: socket.socket, waiting: dict[int, list[object]]
    ) -> None:
        with contextlib.suppress(OSError, struct.error):
            for frame in frames(broker):
                (correlation_id,) = struct.unpack_from(">i", frame, 4)
                row = waiting.pop(correlation_id)
                row[2] = time.monotonic() - float(str(row[0]))
                client.sendall(frame)
        client.close()


def frames(source: socket.socket) -> Iterator[bytes]:
    """Whole frames with their length in front, until the end."""
    data = b""
    while True:
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
            size = 4 + int.from_bytes(data[:4], "big")
            yield data[:size]
            data = data[size:]
        part = source.recv(1 << 16)
        if not part:
            return
        data += part


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def broker_with_records(*arguments: str) -> Iterator[ServedBroker]:
    with (
        tempfile.TemporaryDirectory() as folder,
        ServedBroker(Path(folder) / "data", ("--workers", "1", *arguments)) as broker,
    ):
        client = confluent.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        (future,) = client.create_topics([confluent.NewTopic(TOPIC, 3, 1)]).values()
        future.result(TIMEOUT_S)
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap_servers})
        for n in range(30):
            producer.produce(TOPIC, b"%d" % n, partition=n % 3)
        assert producer.flush(TIMEOUT_S) == 0
        yield broker


def trace(first: Callable[[str, int], Times]) -> list[str]:
    """The requests of the second of two times, up to the first record."""
    port, broker_port = free_port(), free_port()
    proxy = Proxy(port, broker_port)
    Thread(target=proxy.serve, daemon=True).start()
    with broker_with_records(
        "--listen", f"127.0.0.1:{broker_port}",
        "--set", f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
    ):  # fmt: skip
        proxy.seen.clear()
        first(f"127.0.0.1:{port}", 2)
        starts = [n for n, row in enumerate(proxy.seen) if str(row[1]).startswith("API_VERSIONS")]
        half = [n for n in starts if n > len(proxy.seen) // 3]
        rows = proxy.seen[half[0] if half else 0 :]
        began = float(str(rows[0][0]))
        return [
            f"{(float(str(at)) - began) * 1e3:8.1f} ms  {name!s:28} answered after "
            + ("-" if delay is None else f"{float(str(delay)) * 1e3:.1f} ms")
            for at, name, delay in rows
        ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--limit-ms", type=float, default=300.0)
    parser.add_argument("--trace", default="", help="the trace of this client, whatever it takes")
    o = parser.parse_args()
    found = clients()
    over = [o.trace] if o.trace else []
    print("| client | median ms | slowest ms | to the assignment | first in the process |")
    print("|---|---|---|---|---|")
    with broker_with_records() as broker:
        for name, first in found.items():
            times = first(broker.bootstrap_servers, o.count + 1)
            all_ms = [ms for ms, _ in times[1:]]
            assigned_ms = median(ms for _, ms in times[1:])
            print(
                f"| {name} | {median(all_ms):.0f} | {max(all_ms):.0f} | {assigned_ms:.0f} | "
                f"{times[0][0]:.0f} |",
                flush=True,
            )
            if median(all_ms) > o.limit_ms and name not in over:
                over.append(name)
    for name in over:
        print(f"\n{name}:\n")
        print("\n".join(trace(found[name])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
