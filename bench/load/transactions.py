"""What transactions cost, side by side with Apache Kafka:

python -m bench.load.transactions [--producers 4] [--seconds 10] [--rounds 3] [--json FILE]

Four shapes, the producers each in a process of its own. With librdkafka's producers *stream*
writes 1 KiB records as fast as it can and commits every 100 ms, and *small* commits transactions of
one record, one after the other. librdkafka is then what limits a stream, so *encoded* is one stream
of batches that were encoded before (`encoded_transactions`): what is left is the broker; *wide*
is one producer, too, whose transactions are a request with a batch for each of ten partitions. Both
brokers have their default settings; the rounds are interleaved.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import confluent_kafka
from confluent_kafka import admin

from bench.load.encoded_transactions import EncodedProducer
from bench.load.targets import KafkaTarget
from tidelog.benchmarks.targets import Target, TidelogTarget

TOPIC = "transactions"
PARTITIONS = 4
WIDE_PARTITIONS = 10
RECORD = bytes(1024)
COMMIT_EVERY_S = 0.1
TIMEOUT_S = 60.0
Counts = tuple[int, int, float]  # records, transactions, seconds
Run = Callable[[float], Counts]


def producer_of(bootstrap: str, transactional_id: str) -> confluent_kafka.Producer:
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "linger.ms": 5,
            "queue.buffering.max.messages": 200_000,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    return producer


def stream(producer: confluent_kafka.Producer, seconds: float) -> Counts:
    records = transactions = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        producer.begin_transaction()
        until = time.monotonic() + COMMIT_EVERY_S
        while time.monotonic() < until:
            try:
                for _ in range(100):
                    producer.produce(TOPIC, RECORD, partition=records % PARTITIONS)
                    records += 1
            except BufferError:
                producer.poll(0.005)
        producer.commit_transaction(TIMEOUT_S)
        transactions += 1
    return records, transactions, time.monotonic() - began


def small(producer: confluent_kafka.Producer, seconds: float) -> Counts:
    transactions = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        producer.begin_transaction()
        producer.produce(TOPIC, RECORD, partition=transactions % PARTITIONS)
        producer.commit_transaction(TIMEOUT_S)
        transactions += 1
    return transactions, transactions, time.monotonic() - began


def streaming(bootstrap: str, name: str) -> Run:
    producer = producer_of(bootstrap, name)
    return lambda seconds: stream(producer, seconds)


def committing(bootstrap: str, name: str) -> Run:
    producer = producer_of(bootstrap, name)
    return lambda seconds: small(producer, seconds)


def encoded(bootstrap: str, name: str) -> Run:
    producer = EncodedProducer(bootstrap, name, TOPIC, PARTITIONS)
    return lambda seconds: producer.stream(seconds, COMMIT_EVERY_S)


def wide(bootstrap: str, name: str) -> Run:
    return EncodedProducer(bootstrap, name, TOPIC, WIDE_PARTITIONS).wide


#: How each shape begins: its producer is connected, and what it gives runs for so many seconds.
SHAPES: dict[str, Callable[[str, str], Run]] = {
    "stream": streaming,
    "encoded": encoded,
    "small": committing,
    "wide": wide,
}
#: Shapes of one producer alone.
ALONE = ("encoded", "wide")


def work(pipe: Connection, bootstrap: str, name: str, shape: str, seconds: float) -> None:
    """One producer's process."""
    run = SHAPES[shape](bootstrap, name)
    run(0.5)  # warm
    pipe.send(None)
    pipe.recv()
    pipe.send(run(seconds))


def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([admin.NewTopic(topic, partitions, 1)])[topic].result(TIMEOUT_S)


def measure(target: Target, shape: str, producers: int, seconds: float) -> dict[str, float]:
    make_topic(target.bootstrap, TOPIC, WIDE_PARTITIONS if shape == "wide" else PARTITIONS)
    pipes = []
    processes = []
    for number in range(producers):
        ours, theirs = multiprocessing.Pipe()
        arguments = (theirs, target.bootstrap, f"{shape}-{number}", shape, seconds)
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
        process.start()
        theirs.close()  # or nobody would notice when the producer fails
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    before = target.cpu_s()
    for pipe in pipes:
        pipe.send(None)
    counts: list[Counts] = [pipe.recv() for pipe in pipes]
    cpu_s = target.cpu_s() - before
    for process in processes:
        process.join()
    records = sum(count[0] for count in counts)
    transactions = sum(count[1] for count in counts)
    elapsed_s = max(count[2] for count in counts)
    return {
        "records/s": records / elapsed_s,
        "transactions/s": transactions / elapsed_s,
        "broker CPU us/transaction": 1e6 * cpu_s / transactions,
        "broker CPU us/record": 1e6 * cpu_s / records,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--producers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--targets", default="tidelog,kafka")
    parser.add_argument("--data-parent", type=Path, help="on the disk that is meant")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    kinds: dict[str, type[Target]] = {"tidelog": TidelogTarget, "kafka": KafkaTarget}
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(
        prefix="tidelog-transactions-", dir=args.data_parent
    ) as parent:
        for number in range(args.rounds):
            for shape in args.shapes.split(","):
                for name in args.targets.split(","):
                    producers = 1 if shape in ALONE else args.producers
                    with kinds[name](Path(parent) / f"{number}-{shape}-{name}") as target:
                        figures = measure(target, shape, producers, args.seconds)
                    found.setdefault(shape, {}).setdefault(name, []).append(figures)
                    shown = " ".join(f"{key}={value:,.1f}" for key, value in figures.items())
                    print(f"{number} {shape} {name}: {shown}", flush=True)
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def table(found: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Medians, and the ratio of the first target to the second one."""
    lines = []
    for shape, by_target in found.items():
        names = list(by_target)
        lines.append(f"{shape:30}" + "".join(f"{name:>14}" for name in names) + f"{'ratio':>10}")
        for figure in by_target[names[0]][0]:
            middle = [median(one[figure] for one in by_target[name]) for name in names]
            ratio = f"{middle[0] / middle[-1]:>10.2f}" if len(middle) > 1 else ""
            lines.append(f"{figure:30}" + "".join(f"{value:>14,.1f}" for value in middle) + ratio)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
