"""Log compaction: how fast it is beside Apache Kafka's, and what the tail feels of it:

python -m bench.load.cleaning [--targets tidelog,kafka] [--bytes 1G] [--rounds 3] [--json FILE]

Throughput: a topic is filled with keyed records under cleanup.policy=delete and then set to
`compact`; the time runs from the answer to that until cleaner-offset-checkpoint says that all but
the active segment is compacted. MB are those of the log before. Both brokers have the defaults of
log.cleaner.* but for a short backoff. Every round uses a new topic, A, B, A, B.

The tail (Tidelog only): a producer sends batches of 4 KiB at a fixed rate and a consumer waits at
the end of another topic, as in bench.load.disturbed; alone, and while partitions are compacted one
after the other. `cleaning share` says for which part of that time the cleaner was at work.
"""

import argparse
import json
import os
import random
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import confluent_kafka
import confluent_kafka.admin

from bench.load.disturbed import Tail, beside
from bench.load.targets import KafkaTarget
from tidelog.benchmarks.cluster import Cluster
from tidelog.benchmarks.shapes import MEGABYTE
from tidelog.benchmarks.targets import BROKER_CONFIGS, Target, TidelogTarget
from tidelog.storage.checkpoints import CLEANER_CHECKPOINT, read_offsets
from tidelog.storage.segment_files import LOG_SUFFIX, parse_name

TIMEOUT_S = 600.0
BACKOFF_MS = 50
SEGMENT_BYTES = 128 * 1024 * 1024
UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}


def size_of(text: str) -> int:
    """5G, 200M, 1000."""
    unit = UNITS.get(text[-1:].upper(), 1)
    return int(float(text[:-1] if unit > 1 else text) * unit)


@dataclass(frozen=True)
class Data:
    """What a topic is filled with."""

    size_bytes: int
    value_bytes: int
    writes_per_key: float
    codec: str

    @property
    def records(self) -> int:
        return max(self.size_bytes // (self.value_bytes + 20), 1)


def fill(bootstrap: str, topic: str, partitions: int, data: Data) -> None:
    """Keys at random, the same for each broker; values that do not compress to nothing."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": data.codec,
            "linger.ms": 50,
            "batch.size": 200_000,
            "batch.num.messages": 100_000,
            "queue.buffering.max.kbytes": 200_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    rng = random.Random(1)
    filler = rng.randbytes(data.value_bytes // 2 + 4096).hex().encode()
    keys = max(int(data.records / data.writes_per_key), 1)
    for i in range(data.records):
        start = i % 4096
        value = filler[start : start + data.value_bytes]
        key = b"key-%d" % rng.randrange(keys)
        while True:
            try:
                producer.produce(topic, value, key, partition=i * partitions // data.records)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(TIMEOUT_S):
        raise SystemExit("the topic could not be filled")


class Topic:
    """A topic to be compacted, and its folders on the disk."""

    def __init__(self, target: Target, name: str, partitions: int) -> None:
        self.target, self.name, self.partitions = target, name, partitions
        self._admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": target.bootstrap})
        config = {
            "cleanup.policy": "delete",
            "retention.ms": "-1",
            "segment.bytes": str(SEGMENT_BYTES),
            "min.cleanable.dirty.ratio": "0",
            "file.delete.delay.ms": "60000",
        }
        new = confluent_kafka.admin.NewTopic(name, partitions, 1, config=config)
        self._admin.create_topics([new])[name].result(60)

    @cached_property
    def log_directory(self) -> Path:
        (found,) = self.target.folder.glob(f"data/**/{self.name}-0")
        return found.parent

    def folders(self) -> list[Path]:
        return [self.log_directory / f"{self.name}-{i}" for i in range(self.partitions)]

    def size_bytes(self) -> int:
        """Of all but the active segments."""
        total = 0
        for folder in self.folders():
            logs = sorted(path for path in folder.glob(f"*{LOG_SUFFIX}"))
            total += sum(path.stat().st_size for path in logs[:-1])
        return total

    def compact(self) -> None:
        entry = confluent_kafka.admin.ConfigEntry(
            "cleanup.policy",
            "compact",
            incremental_operation=confluent_kafka.admin.AlterConfigOpType.SET,
        )
        resource = confluent_kafka.admin.ConfigResource(
            confluent_kafka.admin.ResourceType.TOPIC, self.name, incremental_configs=[entry]
        )
        (done,) = self._admin.incremental_alter_configs([resource]).values()
        done.result(60)

    @cached_property
    def active_bases(self) -> list[int]:
        return [active_base(folder) for folder in self.folders()]

    def is_compacted(self) -> bool:
        """Looks at one small file: who asks may be measuring meanwhile."""
        offsets = read_offsets(str(self.log_directory / CLEANER_CHECKPOINT))
        return all(
            offsets.get((self.name, i), -1) >= base for i, base in enumerate(self.active_bases)
        )

    def delete(self) -> None:
        self._admin.delete_topics([self.name])[self.name].result(60)


def active_base(folder: Path) -> int:
    parsed = [parse_name(path.name) for path in folder.iterdir()]
    return max(found[0] for found in parsed if found and found[1] == LOG_SUFFIX)


def measure(target: Target, name: str, data: Data) -> dict[str, float]:
    """One cleaning."""
    topic = Topic(target, name, 1)
    fill(target.bootstrap, name, 1, data)
    before, _ = topic.size_bytes(), topic.active_bases
    cpu = target.cpu_s()
    topic.compact()
    began = time.monotonic()
    while not topic.is_compacted():
        if time.monotonic() - began > TIMEOUT_S:
            raise SystemExit(f"{target.name} did not compact in time")
        time.sleep(0.01)
    took_s = time.monotonic() - began
    found = {
        "MB/s": before / MEGABYTE / took_s,
        "seconds": took_s,
        "cpu s per GB": (target.cpu_s() - cpu) / (before / 1e9),
        "MB before": before / MEGABYTE,
        "MB after": topic.size_bytes() / MEGABYTE,
    }
    topic.delete()
    return found


def settings() -> dict[str, str]:
    return BROKER_CONFIGS | {"log.cleaner.backoff.ms": str(BACKOFF_MS)}


def make_target(name: str, parent: Path) -> Target:
    if name == "kafka":
        return CleaningKafka(parent / name)
    return TidelogTarget(
        parent / name, settings=[f"{key}={value}" for key, value in settings().items()]
    )


class CleaningKafka(KafkaTarget):
    def start(self) -> None:
        from tests.compat.reference import ReferenceBroker

        self._broker = ReferenceBroker(
            data_dir=self.folder, heap_mb=1024, overrides=settings(), full_speed=True
        )
        self._broker.start()
        self.pid = self._broker.pid
        self.bootstrap = self._broker.bootstrap


def compare(names: list[str], parent: Path, rounds: int, data: Data) -> dict[str, list[dict]]:  # type: ignore[type-arg]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            with make_target(name, parent) as target:
                found[name].append(measure(target, f"cleaned-{number}", data))
    return found


def disturbed(parent: Path, args: argparse.Namespace, data: Data) -> dict[str, dict[str, float]]:
    """The tail alone, and beside a cleaning."""
    found = {}
    with make_target("tidelog", parent) as target:
        cluster = Cluster(target.bootstrap)
        topic = Topic(target, "compacted", args.partitions)
        fill(target.bootstrap, "compacted", args.partitions, data)
        assert topic.active_bases
        os.sync()  # the filling is not what is measured

        def tail(name: str) -> Tail:
            return Tail(cluster, cluster.create_topic(name, 1), args.rate)

        tail("warm").run(1.0)
        alone = tail("alone")
        alone.run(args.seconds)
        found["alone"] = alone.figures()
        busy: list[float] = []

        def clean(stop: threading.Event) -> None:
            began = time.monotonic()
            topic.compact()
            while not topic.is_compacted() and not stop.is_set():
                time.sleep(0.1)
            busy.append(time.monotonic() - began)

        cleaned = tail("cleaned")
        with beside(clean):
            cleaned.run(args.seconds)
        share = min(busy[0] / args.seconds, 1.0) if busy else 0.0
        found["cleaning"] = cleaned.figures() | {"cleaning share": share}
    return found


def print_medians(found: dict[str, list[dict[str, float]]]) -> None:
    for name, rounds in found.items():
        for metric in rounds[0]:
            values = [one[metric] for one in rounds]
            print(f"{name:10}{metric:16}{median(values):10,.2f}"
                  f"  ({min(values):,.2f} - {max(values):,.2f})")  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", default="tidelog,kafka", help="'': no throughput")
    parser.add_argument("--bytes", type=size_of, default=size_of("1G"))
    parser.add_argument("--value-bytes", type=int, default=200)
    parser.add_argument("--writes-per-key", type=float, default=4.0)
    parser.add_argument("--codec", default="none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tail-bytes", type=size_of, default=size_of("4G"), help="0: no tail")
    parser.add_argument("--partitions", type=int, default=4, help="of what the tail runs beside")
    parser.add_argument("--rate", type=float, default=1000.0, help="batches of 4 KiB a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each tail")
    parser.add_argument("--data-parent", type=Path, help="on the disk that is meant")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    shape = (args.value_bytes, args.writes_per_key, args.codec)
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="tidelog-compaction-", dir=args.data_parent) as folder:
        parent = Path(folder)
        if args.targets:
            data = Data(args.bytes, *shape)
            found = compare(args.targets.split(","), parent, args.rounds, data)
            print_medians(found)
            result["throughput"] = found
        if args.tail_bytes:
            rounds = [
                disturbed(parent, args, Data(args.tail_bytes, *shape)) for _ in range(args.rounds)
            ]
            print_medians({case: [one[case] for one in rounds] for case in rounds[0]})
            result["tail"] = rounds
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
