"""What users get with the clients that they have, side by side with Apache Kafka:

python -m bench.load.real_clients [--records 1000000] [--size 1024] [--rounds 5] [--json FILE]

Apache's kafka-producer-perf-test and kafka-consumer-perf-test in a JVM of each run, and librdkafka
by confluent-kafka from Python: produce so many records to a topic with a partition, and read them
all again. The client's defaults, but for what the tools ask to be told, and librdkafka's pause when
its queue is full. Both brokers run all the time, the runs are interleaved, every second round in
the opposite order. On two cores the client is what limits most runs, so the broker's CPU for a GB
stands beside the rate: it is what is left for others.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import confluent_kafka
from confluent_kafka import admin

from bench.load.targets import KafkaTarget
from bench.load.transactions import make_topic, table
from tests.compat.tools import JavaTool
from tidelog.benchmarks.targets import Target, TidelogTarget

TIMEOUT_S = 300.0
BATCH = 1000
#: A client's run: (bootstrap, topic, records, bytes of each) -> records a second, as it says.
Run = Callable[[str, str, int, int], float]


def java(tool: str, *args: str) -> str:
    done = JavaTool(tool, full_speed=True).run(*args, timeout_s=TIMEOUT_S)
    if done.code != 0:
        raise SystemExit(f"{tool}: {done.err[-500:]}")
    return done.out


def java_produces(bootstrap: str, topic: str, records: int, size: int) -> float:
    out = java(
        "kafka-producer-perf-test",
        *("--topic", topic, "--num-records", str(records), "--record-size", str(size)),
        *("--throughput", "-1", "--bootstrap-server", bootstrap),
    )
    # "1000000 records sent, 254323.4 records/sec (248.36 MB/sec), ..." is the last line.
    return float(out.strip().splitlines()[-1].split(", ")[1].split()[0])


def java_consumes(bootstrap: str, topic: str, records: int, size: int) -> float:
    out = java(
        "kafka-consumer-perf-test",
        *("--topic", topic, "--num-records", str(records), "--bootstrap-server", bootstrap),
    )
    # Its columns: begin, end, MB, MB/s, records, records/s, rebalance, fetch time, ...
    columns = out.strip().splitlines()[-1].split(", ")
    return float(columns[4]) / (float(columns[7]) / 1000)


def librdkafka_produces(bootstrap: str, topic: str, records: int, size: int) -> float:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    value = bytes(size)
    began, sent = time.monotonic(), 0
    while sent < records:
        try:
            producer.produce(topic, value)
            sent += 1
        except BufferError:
            producer.poll(0.01)
    if producer.flush(TIMEOUT_S):
        raise SystemExit("librdkafka: not everything was written")
    return records / (time.monotonic() - began)


def librdkafka_consumes(bootstrap: str, topic: str, records: int, size: int) -> float:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            # Its default is a pause of a second when its own queue is full, of the two that a run
            # takes, and it meets whoever fills the queue faster.
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.subscribe([topic])
    began, read = time.monotonic(), 0
    first = began
    while read < records:
        messages = consumer.consume(BATCH, TIMEOUT_S)
        if not messages:
            raise SystemExit("librdkafka: not everything was read")
        if not read:
            first = time.monotonic()
        read += len(messages)
    took_s = time.monotonic() - first
    consumer.close()
    return records / took_s


#: In this order: who reads, reads what the one before has written.
RUNS: dict[str, Run] = {
    "kafka-producer-perf-test": java_produces,
    "kafka-consumer-perf-test": java_consumes,
    "confluent-kafka produce": librdkafka_produces,
    "confluent-kafka consume": librdkafka_consumes,
}


def delete_topic(bootstrap: str, topic: str) -> None:
    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    client.delete_topics([topic])[topic].result(TIMEOUT_S)


def measure(target: Target, run: Run, topic: str, args: argparse.Namespace) -> dict[str, float]:
    before = target.cpu_s()
    rate = run(target.bootstrap, topic, args.records, args.size)
    cpu_s = target.cpu_s() - before
    return {
        "records/s": rate,
        "broker CPU ms/GB": 1e3 * cpu_s / (args.records * args.size / 1e9),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN", help="in this order"
    )
    parser.add_argument("--data-parent", type=Path, help="on the disk that is meant")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    kinds: list[type[Target]] = [TidelogTarget, KafkaTarget]
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with ExitStack() as stack:
        parent = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="tidelog-clients-", dir=args.data_parent)
            )
        )
        targets = [stack.enter_context(kind(parent / kind.name)) for kind in kinds]
        for number in range(-1, args.rounds):  # the first one warms both, and is not counted
            topic = f"clients-{number + 1}"
            for target in targets:
                make_topic(target.bootstrap, topic, 1)
            for name, run in RUNS.items():
                if name not in args.runs:
                    continue
                for target in targets[:: -1 if number % 2 else 1]:
                    figures = measure(target, run, topic, args)
                    if number >= 0:
                        by_target = found.setdefault(name, {each.name: [] for each in targets})
                        by_target[target.name].append(figures)
                    shown = " ".join(f"{key}={value:,.0f}" for key, value in figures.items())
                    print(f"{number} {name} {target.name}: {shown}", flush=True)
            for target in targets:
                delete_topic(target.bootstrap, topic)
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
