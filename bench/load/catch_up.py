"""A follower that was away catches up, while its leader serves clients:

python -m bench.load.catch_up [--bytes 5G] [--rounds 3] [--follower-parent DIR] [--json FILE]

Two workers on one host and a topic with two replicas. The follower's process is stopped (SIGSTOP)
while the topic is filled with acks=1; then the leader's pages are thrown out of the cache and the
follower goes on. The time runs until the high watermark is the log's end: the follower, which was
not taken out of the ISR, has everything. `disk to network` beside it is the same files sent by
sendfile, cold as well, to a reader on the loopback that throws them away: what this machine can do.
`disk to disk`: to a reader that writes them where the follower's data is.

A follower on the leader's disk writes there what the leader reads. On a host of its own it does
not: `--follower-parent` puts its data elsewhere, say on /dev/shm.

The tail is that of bench.load.disturbed on another topic of the same leader: alone, with the
follower stopped; beside the bare copy from disk to disk, which is what the machine itself adds; and
while the follower catches up. `of the tail`: for which part of that time it did.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.load.bare_copy import copied
from bench.load.cleaning import size_of
from bench.load.disturbed import Cases, Tail, beside, evict, run_rounds
from tidelog.benchmarks import process_stats
from tidelog.benchmarks.batches import sized_batch
from tidelog.benchmarks.cluster import Cluster, TopicLayout
from tidelog.benchmarks.shapes import MEGABYTE, WORKLOADS, fill
from tidelog.benchmarks.targets import TidelogTarget

SETTINGS = (
    "replica.lag.time.max.ms=3600000",
    "broker.session.timeout.ms=3600000",
    "log.segment.delete.delay.ms=0",
)
POLL_S = 0.01
#: With a disk of its own that one is the follower.
SECOND = 2
TIMEOUT_S = 600.0
FILL = replace(WORKLOADS["fetch-1m"], name="backlog")


def worker(pid: int, node_id: int) -> int:
    """The process of that node, below the supervisor's."""
    wanted = f"tidelog worker node={node_id}".encode()
    for each in process_stats.process_tree(pid):
        if Path(f"/proc/{each}/cmdline").read_bytes().rstrip(b"\0 ") == wanted:
            return each
    raise SystemExit(f"node {node_id} has no process")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class CatchUp:
    """One round: a fresh topic, behind by so much."""

    def __init__(self, target: TidelogTarget, args: argparse.Namespace) -> None:
        self.target, self.args = target, args
        self.cluster = Cluster(target.bootstrap)
        first_port = int(target.bootstrap.split(",")[0].rpartition(":")[2])
        for attempt in range(20):
            self.topic = f"backlog-{attempt}"
            self.layout = self.cluster.create_topic(self.topic, 1, replication_factor=2)
            self.leader = self.layout.leaders[0]
            self.leader_id = self.leader[1] - first_port + 1
            self.follower_id = 3 - self.leader_id
            if args.follower_parent is None or self.follower_id == SECOND:
                break
        self.took_s = 0.0
        self.bare: list[float] = []
        self._caught_up = threading.Event()
        self.files: list[Path] = []

    def tail(self, name: str) -> Tail:
        """On the leader, not replicated."""
        layout = self.cluster.create_topic(name, 2)
        here = {index: place for index, place in layout.leaders.items() if place == self.leader}
        return Tail(self.cluster, TopicLayout(name, here), self.args.rate)

    def run(self) -> Cases:
        size_bytes = size_of(self.args.bytes)
        alone, copying, meanwhile = (self.tail(name) for name in ("alone", "copying", "meanwhile"))
        self.tail("warm").run(1.0)
        follower = worker(self.target.pid, self.follower_id)
        found: Cases = {}
        with stopped(follower):
            fill(self.cluster, replace(FILL, fill_bytes=size_bytes), self.layout)
            place = self.target.folder / "data" / f"node-{self.leader_id}" / f"{self.topic}-0"
            self.files = sorted(place.glob("*.log"))
            evict(self.files)
            limit = copied(self.files)
            alone.run(self.args.seconds)
            found["alone"] = alone.figures()
            with beside(self._copy):
                copying.run(self.args.seconds)
            found["bare copy"] = copying.figures()
            evict(self.files)
        pids = {"leader": worker(self.target.pid, self.leader_id), "follower": follower}
        used_s = {name: -process_stats.cpu_s([pid]) for name, pid in pids.items()}
        with beside(self._watch):
            meanwhile.run(self.args.seconds)
            if not self._caught_up.wait(TIMEOUT_S):
                raise SystemExit("the follower did not catch up")
        for name, pid in pids.items():
            used_s[name] += process_stats.cpu_s([pid])
        speed = size_bytes / MEGABYTE / self.took_s
        found["meanwhile"] = meanwhile.figures()
        found["catching up"] = {
            "MB/s": speed,
            "disk to network MB/s": limit,
            "part of it %": 100 * speed / limit,
            "disk to disk MB/s": median(self.bare),
            "part of that %": 100 * speed / median(self.bare),
            "seconds": self.took_s,
            "of the tail %": 100 * min(1.0, self.took_s / self.args.seconds),
        } | {f"CPU of the {name} %": 100 * used / self.took_s for name, used in used_s.items()}
        return found

    def _copy(self, stop: threading.Event) -> None:
        """Again and again, to the disk that is the follower's."""
        while not stop.is_set():
            evict(self.files)
            self.bare.append(copied(self.files, self.args.follower_parent or self.target.folder))

    def _watch(self, stop: threading.Event) -> None:
        """Until the high watermark is the log's end."""
        began = time.perf_counter()
        batches = -(-size_of(self.args.bytes) // FILL.batch_bytes)
        batch = sized_batch(FILL.batch_bytes, 0, record_bytes=FILL.record_bytes)
        end = batches * batch.record_count
        while self.cluster.offsets(self.layout, 0)[1] < end:
            if stop.wait(POLL_S):
                return
        self.took_s = time.perf_counter() - began
        self._caught_up.set()


def measure(folder: Path, args: argparse.Namespace) -> Cases:
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        if args.follower_parent is not None:
            apart = stack.enter_context(TemporaryDirectory(dir=args.follower_parent))
            (folder / "broker" / "data").mkdir(parents=True)
            (folder / "broker" / "data" / f"node-{SECOND}").symlink_to(apart)
        target = stack.enter_context(TidelogTarget(folder / "broker", workers=2, settings=SETTINGS))
        return CatchUp(target, args).run()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bytes", default="5G", help="how far the follower is behind")
    parser.add_argument("--rate", type=float, default=1000.0, help="batches of 4 KiB a second")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each tail")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-parent", type=Path, help="on the disk that is meant")
    parser.add_argument("--follower-parent", type=Path, help="where the follower's data is")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    run_rounds("catch-up", args, measure)


if __name__ == "__main__":
    main()
