"""What members of groups cost a broker: python -m bench.load.members [--targets tidelog,kafka]

1,000 members in 100 groups, and a tenth of that with the consumer protocol (KIP-848), join on one
broker, then beat every 3 seconds for a while: nobody may lose their session. Then heartbeats,
offset commits and heartbeats of the consumer protocol are sent at a fixed rate, and the broker's
CPU time of each is what it used beyond an idle window, by the number of requests. Brokers are
measured in turn, in the same rounds, and medians are printed. The members are coroutines of this
process, each with a connection of its own.
"""

import argparse
import asyncio
import json
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop

from bench.load import group_requests as wire
from bench.load.targets import KafkaTarget
from tidelog.benchmarks.cluster import Cluster, Reader, parse_address, text
from tidelog.benchmarks.targets import ForeignTarget, Target, TidelogTarget

CLIENT = text("members")
REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID = 27, 25
COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, COORDINATOR_LOADING = 15, 16, 14
NOT_YET = (COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, COORDINATOR_LOADING)
TOPIC = "members"
JOIN_TIMEOUT_S = 90.0
CONSUMER_GROUPS = {"group.consumer.min.session.timeout.ms": "1000"}


@dataclass
class Seen:
    """What members saw: errors by code, and how long answers took."""

    errors: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    sessions_lost: int = 0


class Connection:
    """One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._correlation_id = 0
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, address: tuple[str, int]) -> "Connection":
        return cls(*await asyncio.open_connection(*address))

    async def request(self, api_key: int, body: bytes) -> Reader:
        async with self._turn:
            return await self._request(api_key, body)

    async def _request(self, api_key: int, body: bytes) -> Reader:
        self._correlation_id += 1
        head = struct.pack(">hhi", api_key, wire.VERSIONS[api_key], self._correlation_id) + CLIENT
        self._writer.write(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", await self._reader.readexactly(4))
        answer = Reader(await self._reader.readexactly(size))
        if answer.one("i") != self._correlation_id:
            raise ValueError("answer with another correlation id")
        return answer

    def close(self) -> None:
        self._writer.close()


class Member:
    """Joins, beats, commits."""

    def __init__(self, group: str, partitions: int, session_ms: int, seen: Seen) -> None:
        self.group, self.partitions, self.session_ms, self.seen = (
            group,
            partitions,
            session_ms,
            seen,
        )
        self.member_id, self.generation, self.commits = "", -1, 0
        self.connection: Connection

    async def connect(self, address: tuple[str, int]) -> None:
        self.connection = await Connection.open(address)

    async def timed(self, api_key: int, body: bytes) -> Reader:
        began = time.monotonic()
        answer = await self.connection.request(api_key, body)
        self.seen.latencies_s.append(time.monotonic() - began)
        return answer

    async def join(self) -> None:
        while True:
            request = wire.join_group(self.group, self.member_id, TOPIC, self.session_ms)
            found = wire.joined(await self.connection.request(wire.JOIN_GROUP, request))
            if found.error_code in (UNKNOWN_MEMBER_ID, *NOT_YET):
                if found.error_code == UNKNOWN_MEMBER_ID:
                    self.member_id = ""
                await asyncio.sleep(0.1)
                continue
            if found.error_code == REBALANCE_IN_PROGRESS:
                continue
            if found.error_code:
                raise ValueError(f"JoinGroup: error code {found.error_code}")
            self.member_id, self.generation = found.member_id, found.generation
            parts = {
                member: wire.assignment(TOPIC, range(n, self.partitions, len(found.members)))
                for n, member in enumerate(found.members)
            }
            request = wire.sync_group(self.group, self.generation, self.member_id, parts)
            answer = await self.connection.request(wire.SYNC_GROUP, request)
            if answer.one("h") == 0:
                return

    async def beat(self) -> int:
        """The error code; a member that has to joins again."""
        request = wire.heartbeat(self.group, self.generation, self.member_id)
        error_code = (await self.timed(wire.HEARTBEAT, request)).one("h")
        if error_code:
            self.seen.errors[error_code] += 1
            if error_code == UNKNOWN_MEMBER_ID:
                self.seen.sessions_lost += 1
                self.member_id = ""
            await self.join()
        return error_code

    async def commit(self) -> None:
        self.commits += 1
        request = wire.offset_commit(
            self.group, self.generation, self.member_id, TOPIC, 0, self.commits
        )
        error_code = wire.offset_committed(await self.timed(wire.OFFSET_COMMIT, request))
        if error_code:
            self.seen.errors[error_code] += 1


class ConsumerMember(Member):
    """The same with the consumer protocol."""

    async def join(self) -> None:
        request = wire.consumer_heartbeat(self.group, "", 0, TOPIC)
        while True:
            answer = await self.connection.request(wire.CONSUMER_HEARTBEAT, request)
            found = wire.consumer_beat(answer)
            if found.error_code == 0:
                break
            if found.error_code not in NOT_YET:
                raise ValueError(f"ConsumerGroupHeartbeat: error code {found.error_code}")
            await asyncio.sleep(0.1)
        self.member_id, self.generation = found.member_id, found.epoch

    async def beat(self) -> int:
        request = wire.consumer_heartbeat(self.group, self.member_id, self.generation, None)
        found = wire.consumer_beat(await self.timed(wire.CONSUMER_HEARTBEAT, request))
        if found.error_code:
            self.seen.errors[found.error_code] += 1
            self.seen.sessions_lost += found.error_code == UNKNOWN_MEMBER_ID
            await self.join()
            return found.error_code
        self.generation = found.epoch
        if found.assigned is not None:
            request = wire.consumer_heartbeat_owning(
                self.group, self.member_id, self.generation, found.assigned
            )
            answer = await self.connection.request(wire.CONSUMER_HEARTBEAT, request)
            self.generation = wire.consumer_beat(answer).epoch or self.generation
        return 0


@dataclass(frozen=True)
class Cost:
    """CPU of one kind of request in one round. idle_share: of a core, before."""

    requests: int
    cpu_us: float
    p50_ms: float
    p99_ms: float


class Session:
    """The members of one broker, while it is measured."""

    def __init__(self, target: Target, args: argparse.Namespace) -> None:
        self.target, self.args, self.seen = target, args, Seen()
        self.address = parse_address(target.bootstrap)
        self.members: list[Member] = []
        self.consumers: list[Member] = []
        self.lives: list[asyncio.Task[None]] = []
        self.rounds: dict[str, list[Cost]] = {}
        self.idle_shares: list[float] = []

    def make(self, kind: type[Member], groups: int, count: int, prefix: str) -> list[Member]:
        partitions = self.args.partitions
        return [
            kind(f"{prefix}-{n % groups}", partitions, self.args.session_ms, self.seen)
            for n in range(count)
        ]

    async def join(self) -> float:
        """Everybody is in a stable group; the seconds that it took."""
        began = time.monotonic()
        cluster = Cluster(self.target.bootstrap)
        cluster.create_topic(TOPIC, self.args.partitions)
        cluster.close()
        finder = await Connection.open(self.address)
        # The first look makes the offsets topic.
        until = time.monotonic() + JOIN_TIMEOUT_S
        while True:
            answer = await finder.request(wire.FIND_COORDINATOR, wire.find_coordinator("classic-0"))
            if answer.one("h") == 0:
                break
            if time.monotonic() > until:
                raise TimeoutError("no coordinator")
            await asyncio.sleep(0.1)
        finder.close()
        self.members = self.make(Member, self.args.groups, self.args.members, "classic")
        self.consumers = self.make(
            ConsumerMember, max(1, self.args.groups // 10), self.args.members // 10, "consumer"
        )
        everybody = [*self.members, *self.consumers]
        for member in everybody:
            await member.connect(self.address)
        await asyncio.gather(*(member.join() for member in everybody))
        await self.settle()
        return time.monotonic() - began

    async def settle(self) -> None:
        """Beat until nobody is told anything new."""
        until = time.monotonic() + JOIN_TIMEOUT_S
        while time.monotonic() < until:
            before = [each.generation for each in (*self.members, *self.consumers)]
            codes = await asyncio.gather(*(m.beat() for m in (*self.members, *self.consumers)))
            after = [each.generation for each in (*self.members, *self.consumers)]
            if not any(codes) and before == after:
                return
            await asyncio.sleep(0.2)
        raise TimeoutError("the groups do not settle")

    def begin_life(self) -> None:
        """Everybody beats every interval from now on, until they leave."""
        everybody = [*self.members, *self.consumers]

        async def life(member: Member, n: int) -> None:
            due = time.monotonic() + self.args.interval_s * n / len(everybody)
            while True:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await member.beat()
                due = max(due + self.args.interval_s, time.monotonic())

        self.seen.errors.clear()
        self.seen.latencies_s.clear()
        self.seen.sessions_lost = 0
        self.lives = [asyncio.create_task(life(m, n)) for n, m in enumerate(everybody)]

    async def live(self, seconds: float) -> dict[str, float]:
        """What the beating of everybody took."""
        cpu, began = self.target.cpu_s(), time.monotonic()
        await asyncio.sleep(seconds)
        share = (self.target.cpu_s() - cpu) / (time.monotonic() - began)
        return {
            "heartbeats": len(self.seen.latencies_s),
            "sessions_lost": self.seen.sessions_lost,
            "errors": sum(self.seen.errors.values()),
            "core_share": share,
            **quantiles(self.seen.latencies_s),
        }

    async def measure(
        self, name: str, members: Sequence[Member], request: Callable[[Member], Awaitable[object]]
    ) -> None:
        """One round: the rate for a while, then what it cost beyond idling."""
        rate, seconds = self.args.rate, self.args.seconds
        cpu, began = self.target.cpu_s(), time.monotonic()
        await asyncio.sleep(seconds / 2)
        idle_share = (self.target.cpu_s() - cpu) / (time.monotonic() - began)
        self.idle_shares.append(idle_share)
        self.seen.latencies_s.clear()
        lanes = min(len(members), self.args.lanes)
        count = int(rate * seconds) // lanes
        cpu, began = self.target.cpu_s(), time.monotonic()

        async def lane(n: int) -> None:
            for turn in range(count):
                due = began + (turn + n / lanes) * lanes / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await request(members[(n + turn * lanes) % len(members)])

        await asyncio.gather(*(lane(n) for n in range(lanes)))
        elapsed = time.monotonic() - began
        used = self.target.cpu_s() - cpu - idle_share * elapsed
        sent = count * lanes
        found = quantiles(self.seen.latencies_s)
        cost = Cost(sent, used / sent * 1e6, found["p50_ms"], found["p99_ms"])
        self.rounds.setdefault(name, []).append(cost)
        print(
            f"{self.target.name:8} {name:18} {sent / elapsed:6.0f}/s  {cost.cpu_us:6.1f} us  "
            f"p50 {cost.p50_ms:.2f} ms  p99 {cost.p99_ms:.2f} ms",
            file=sys.stderr,
        )

    async def leave(self) -> None:
        """Their connections end, and with them this broker's part of the run."""
        for life in self.lives:
            life.cancel()
        await asyncio.gather(*self.lives, return_exceptions=True)
        for member in (*self.members, *self.consumers):
            member.connection.close()


def quantiles(values_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values_s) or [0.0]
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1e3 for q in (0.5, 0.99, 1.0)]
    return dict(zip(("p50_ms", "p99_ms", "max_ms"), at, strict=True))


async def run(targets: Sequence[Target], args: argparse.Namespace) -> dict[str, dict[str, object]]:
    sessions = [Session(target, args) for target in targets]
    results: dict[str, dict[str, object]] = {}
    for session in sessions:
        results[session.target.name] = {"joined_s": await session.join()}
        session.begin_life()
    lived = await asyncio.gather(*(session.live(args.live_s) for session in sessions))
    for session, live in zip(sessions, lived, strict=True):
        results[session.target.name]["live"] = live
        print(f"{session.target.name}: {results[session.target.name]}", file=sys.stderr)
    for _ in range(args.rounds):
        for session in sessions:
            await session.measure("heartbeat", session.members, lambda m: m.beat())
            await session.measure("offset commit", session.members, lambda m: m.commit())
            await session.measure("consumer heartbeat", session.consumers, lambda m: m.beat())
    for session in sessions:
        await session.leave()
        costs = {
            name: {
                "cpu_us": median(each.cpu_us for each in found),
                "p50_ms": median(each.p50_ms for each in found),
                "p99_ms": median(each.p99_ms for each in found),
            }
            for name, found in session.rounds.items()
        }
        results[session.target.name]["costs"] = costs
        results[session.target.name]["errors"] = dict(session.seen.errors)
        results[session.target.name]["sessions_lost"] = session.seen.sessions_lost
    return results


def show(results: dict[str, dict[str, object]]) -> None:
    print("| broker | request | CPU us | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for name, result in results.items():
        costs = result["costs"]
        assert isinstance(costs, dict)
        for kind, cost in costs.items():
            numbers = f"{cost['cpu_us']:.0f} | {cost['p50_ms']:.2f} | {cost['p99_ms']:.2f}"
            print(f"| {name} | {kind} | {numbers} |")


def target_of(name: str, folder: Path) -> Target:
    if name == "tidelog":
        settings = [f"{key}={value}" for key, value in CONSUMER_GROUPS.items()]
        return TidelogTarget(folder, settings=settings)
    if name == "kafka":
        return KafkaTarget(folder)
    return ForeignTarget(folder, name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--targets", default="tidelog,kafka", help="tidelog, kafka, or name=HOST:PORT@PID")
    add("--members", type=int, default=1_000)
    add("--groups", type=int, default=100)
    add("--partitions", type=int, default=20)
    add("--interval-s", type=float, default=3.0, help="of heartbeats")
    add("--session-ms", type=int, default=10_000)
    add("--live-s", type=float, default=60.0, help="how long everybody beats")
    add("--rate", type=float, default=2_000.0, help="requests a second while measured")
    add("--lanes", type=int, default=100, help="requests at one time, at most")
    add("--seconds", type=float, default=5.0, help="of each measured round")
    add("--rounds", type=int, default=5)
    add("--folder", type=Path, help="below it the brokers keep their data")
    add("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        targets = [
            target_of(n, Path(folder) / str(i)) for i, n in enumerate(args.targets.split(","))
        ]
        for target in targets:
            target.__enter__()
        try:
            results = uvloop.run(run(targets, args))
        finally:
            for target in targets:
                target.__exit__(None, None, None)
    show(results)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    # The broker under test is the first one.
    return 1 if next(iter(results.values()))["sessions_lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
