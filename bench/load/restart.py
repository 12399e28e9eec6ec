"""How long Tidelog takes to start, to make many partitions, and to start again with them:

python -m bench.load.restart [--partitions 2000] [--workers 1] [--rounds 3] [--json FILE]

In each round, in a new data directory: from the start to the first acknowledged record; a topic of
so many partitions made, one batch written to each; a clean stop and a start; every process killed
and a start. A start ends with the ready line, and is checked by reading a record back from the last
partition. Figures are seconds; CPU is that of all processes that served.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from tidelog.benchmarks import process_stats
from tidelog.benchmarks.targets import TidelogTarget

TOPIC = "many"
TIMEOUT_S = 60.0


def first_record(bootstrap: str, topic: str) -> None:
    """Returns when a record of a new topic is acknowledged."""
    errors = []
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    producer.produce(topic, b"v", on_delivery=lambda error, _: errors.append(error))
    producer.flush(TIMEOUT_S)
    if errors != [None]:
        raise SystemExit(f"not acknowledged: {errors}")


def make_topic(bootstrap: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(TOPIC, partitions, 1)]).values():
        future.result(TIMEOUT_S)


def write_each(bootstrap: str, partitions: int) -> None:
    failed = []

    def note(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for partition in range(partitions):
        producer.produce(TOPIC, b"record %d" % partition, partition=partition, on_delivery=note)
        producer.poll(0)
    if producer.flush(TIMEOUT_S) or failed:
        raise SystemExit(f"not all were acknowledged: {failed[:3]}")


def read_one(bootstrap: str, partition: int) -> None:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "restart"})
    consumer.assign([confluent_kafka.TopicPartition(TOPIC, partition, 0)])
    message = consumer.poll(TIMEOUT_S)
    consumer.close()
    if message is None or message.error() or message.value() != b"record %d" % partition:
        raise SystemExit(f"partition {partition} lost its record")


def kill_all(target: TidelogTarget) -> None:
    """SIGKILL to the supervisor and every process that it started."""
    pids = process_stats.process_tree(target.pid)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    target.stop()


class Round:
    """One round's figures, by name."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder = folder
        self.args = args
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str, target: TidelogTarget | None = None) -> Iterator[None]:
        cpu_s = process_stats.cpu_s([target.pid]) if target else 0.0
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
        if target:
            self.seconds[f"{name} (CPU)"] = process_stats.cpu_s([target.pid]) - cpu_s

    def restart(
        self, name: str, stop: Callable[[TidelogTarget], None], target: TidelogTarget
    ) -> None:
        with self.timed(f"{name}: stop"):
            stop(target)
        with self.timed(f"{name}: start"):
            target.start()
        self.seconds[f"{name}: start (CPU)"] = process_stats.cpu_s([target.pid])
        with self.timed(f"{name}: first fetch"):
            read_one(target.bootstrap, self.args.partitions - 1)

    def run(self) -> dict[str, float]:
        # The folders of all rounds are kept to the end: a file system that has just deleted
        # thousands of files makes new ones slowly.
        self.folder.mkdir(parents=True)
        target = TidelogTarget(self.folder, workers=self.args.workers)
        began = time.monotonic()
        target.start()
        try:
            self.seconds["start to ready"] = time.monotonic() - began
            first_record(target.bootstrap, "first")
            self.seconds["start to first acknowledgement"] = time.monotonic() - began
            largest = process_stats.largest_rss([target.pid])
            self.seconds["MB resident, largest process"] = largest / 1e6
            with self.timed("create", target):
                make_topic(target.bootstrap, self.args.partitions)
            with self.timed("write one batch each", target):
                write_each(target.bootstrap, self.args.partitions)
            self.restart("clean", TidelogTarget.stop, target)
            write_each(target.bootstrap, self.args.partitions)
            self.restart("killed", kill_all, target)
        finally:
            target.stop()
        return self.seconds


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partitions", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="tidelog-restart-") as parent:
        for number in range(args.rounds):
            rounds.append(Round(Path(parent) / str(number), args).run())
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        print(f"{name:32} {median(values):8.3f}  ({min(values):.3f} - {max(values):.3f})")
    if args.json:
        args.json.write_text(json.dumps(rounds, indent=1))


if __name__ == "__main__":
    main()
