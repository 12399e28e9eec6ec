"""What the tail feels while somebody drains a cold backlog, and while segments roll and go:

python -m bench.load.disturbed [--rate 1000] [--seconds 8] [--rounds 3] [--json FILE]

A producer sends batches at a fixed rate, a consumer waits at the end of the log. A latency counts
from when a batch was to be sent, so that one slow answer counts for all that it held up: to its
acknowledgement, and to its arrival at the consumer. In turn: alone; while another client reads a
backlog from the disk (its pages are thrown out of the cache all the time, so that it is larger than
whatever memory there is); with small segments that roll, are deleted and unlinked.

The backlog is read at --drain-mb MB/s, 0 for as fast as it goes: that takes a core for the reader
and one for the broker, and measures the system's scheduler if there are no more. At the default
rate a segment is rolled and one deleted every second.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

from tidelog.benchmarks.cluster import Cluster, TopicLayout
from tidelog.benchmarks.shapes import MEGABYTE, WORKLOADS, Load, Workload, fill
from tidelog.benchmarks.targets import TidelogTarget

PRODUCE = Workload("tail", "produce", 4096)
TAIL = Workload("tail", "fetch", 4096, fetch_mode="tail")
DRAIN = replace(WORKLOADS["fetch-1m"], name="backlog", discard=True)
ROLLING = {"segment.bytes": "4194304", "retention.bytes": "16777216", "file.delete.delay.ms": "100"}
SETTINGS = ("log.retention.check.interval.ms=200",)
EVICT_EVERY_S = 0.1
TIMEOUT_S = 60.0

#: Figures by name, by case.
Cases = dict[str, dict[str, float]]


class Tail:
    """The paced producer and the consumer behind it, on one topic."""

    def __init__(self, cluster: Cluster, layout: TopicLayout, rate: float) -> None:
        self.cluster, self.layout, self.rate = cluster, layout, rate
        self.due: list[float] = []
        self.acknowledged_us: list[float] = []
        self.arrived_us: list[float] = []
        self.sent = 0

    def run(self, seconds: float) -> None:
        count = int(seconds * self.rate)
        began = time.perf_counter() + 0.2
        self.due = [began + i / self.rate for i in range(count)]
        with Load(self.cluster, TAIL, self.layout) as reader:
            consumer = threading.Thread(target=self._consume, args=(reader, count))
            consumer.start()
            with Load(self.cluster, PRODUCE, self.layout) as writer:
                for due in self.due:
                    wait_s = due - time.perf_counter()
                    if wait_s > 0:
                        time.sleep(wait_s)
                    writer.run(max_requests=1)
                    self.acknowledged_us.append((time.perf_counter() - due) * 1e6)
            consumer.join(TIMEOUT_S)
        if len(self.arrived_us) != count:
            raise SystemExit(f"{len(self.arrived_us)} of {count} batches arrived")

    def _consume(self, reader: Load, count: int) -> None:
        while len(self.arrived_us) < count:
            batches = reader.run(max_requests=1).counts["batches"]
            now = time.perf_counter()
            for due in self.due[len(self.arrived_us) : len(self.arrived_us) + batches]:
                self.arrived_us.append((now - due) * 1e6)

    def figures(self) -> dict[str, float]:
        found = {}
        for name, values in (("produce", self.acknowledged_us), ("fetch", self.arrived_us)):
            cuts = quantiles(values, n=1000)
            found |= {f"{name} p50 us": cuts[499], f"{name} p99 us": cuts[989],
                      f"{name} p99.9 us": cuts[998]}  # fmt: skip
        return found


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs `work` in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(TIMEOUT_S)


def evict(files: Sequence[Path], sync: bool = True) -> None:
    """Throws the files' pages out of the cache; only clean ones go."""
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        if sync:
            os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


class Backlog:
    """A topic that is read from the disk, again and again."""

    def __init__(self, cluster: Cluster, data: Path, size_bytes: int, mb_per_s: float) -> None:
        self.cluster = cluster
        self.mb_per_s = mb_per_s
        self.drained_bytes = 0
        self.layout = cluster.create_topic("backlog", 1)
        fill(cluster, replace(DRAIN, fill_bytes=size_bytes), self.layout)
        self.files = sorted(data.glob("node-*/backlog-0/*.log"))
        evict(self.files)

    def drain(self, stop: threading.Event) -> None:
        with beside(self._keep_cold), Load(self.cluster, DRAIN, self.layout) as reader:
            began = time.perf_counter()
            while not stop.is_set():
                self.drained_bytes += reader.run(max_requests=1).record_bytes
                if self.mb_per_s:
                    due = began + self.drained_bytes / MEGABYTE / self.mb_per_s
                    time.sleep(max(0.0, due - time.perf_counter()))

    def _keep_cold(self, stop: threading.Event) -> None:
        while not stop.wait(EVICT_EVERY_S):
            evict(self.files)


def measure(folder: Path, args: argparse.Namespace) -> Cases:
    folder.mkdir(parents=True)
    target = TidelogTarget(folder, workers=args.workers, settings=SETTINGS)
    target.start()
    found = {}
    try:
        cluster = Cluster(target.bootstrap)
        backlog = Backlog(cluster, folder / "data", args.backlog_bytes, args.drain_mb)

        def tail(name: str, configs: dict[str, str]) -> Tail:
            return Tail(cluster, cluster.create_topic(name, 1, configs), args.rate)

        tail("warm", {}).run(1.0)
        alone = tail("alone", {})
        alone.run(args.seconds)
        found["alone"] = alone.figures()
        drained = tail("drained", {})
        with beside(backlog.drain):
            drained.run(args.seconds)
        megabytes = backlog.drained_bytes / MEGABYTE
        found["cold drain"] = drained.figures() | {"MB/s beside": megabytes / args.seconds}
        rolling = tail("rolling", ROLLING)
        rolling.run(args.seconds)
        found["rolling"] = rolling.figures()
    finally:
        target.stop()
    return found


def run_rounds(
    name: str, args: argparse.Namespace, measure: Callable[[Path, argparse.Namespace], Cases]
) -> None:
    """Measures args.rounds times, each in a folder of its own, and prints medians by case; figures
    that the case "alone" has, too, as multiples of it. args: rounds, data_parent, json.
    """
    rounds = []
    with tempfile.TemporaryDirectory(prefix=f"tidelog-{name}-", dir=args.data_parent) as parent:
        for number in range(args.rounds):
            rounds.append(measure(Path(parent) / str(number), args))
    for case in rounds[0]:
        for figure in rounds[0][case]:
            values = [one[case][figure] for one in rounds]
            ratio = ""
            if figure in rounds[0]["alone"]:
                base = median(one["alone"][figure] for one in rounds)
                ratio = f"  {median(values) / base:6.2f} x"
            print(f"{case:12}{figure:22}{median(values):10,.0f}"
                  f"  ({min(values):,.0f} - {max(values):,.0f}){ratio}")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rounds, indent=1))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000.0, help="batches of 4 KiB a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--backlog-bytes", type=int, default=2_000 * MEGABYTE)
    parser.add_argument("--drain-mb", type=float, default=400.0, help="0: no limit")
    parser.add_argument("--data-parent", type=Path, help="on the disk that is meant")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    run_rounds("disturbed", args, measure)


if __name__ == "__main__":
    main()
