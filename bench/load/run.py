"""One workload on one broker, any that speaks Kafka's protocol:

python -m bench.load.run --bootstrap HOST:PORT --workload produce-16k --seconds 3 --json
"""

import argparse
import json
import os
from dataclasses import replace
from typing import Any

from tidelog.benchmarks import process_stats
from tidelog.benchmarks.cluster import Cluster, parse_address
from tidelog.benchmarks.floor import FloorCluster
from tidelog.benchmarks.shapes import WORKLOADS, ClusterLike, Load, Report, Workload, prepare_topic


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--bootstrap", required=True, metavar="HOST:PORT")
    add("--workload", required=True, choices=sorted(WORKLOADS))
    add("--seconds", type=float, default=3.0)
    add("--max-requests", type=int, default=0, help="end after so many answers")
    add("--warmup", type=float, default=0.5, metavar="SECONDS", help="not measured, same topic")
    add("--in-flight", type=int, help="requests on the wire per connection")
    add("--connections", type=int)
    add("--partitions", type=int)
    add("--partitions-per-request", type=int)
    add("--acks", type=int, choices=(-1, 0, 1))
    add("--idempotent", action="store_true", default=None, help="with producer id and sequences")
    add("--batch-bytes", type=int, help="whole size of a record batch")
    add("--record-bytes", type=int, help="size of a record's value")
    add("--fetch-bytes", type=int, help="max.bytes and max.partition.fetch.bytes")
    add("--fill-bytes", type=int, help="what is written before fetching")
    add("--fetch-mode", choices=("stream", "fixed", "tail"))
    add("--discard", action="store_true", default=None, help="fetched records stay in the kernel")
    add("--verify-crc", action="store_true", default=None, help="check every fetched batch")
    add("--api-version", type=int)
    add("--socket-buffer-bytes", type=int)
    add("--congestion", help="TCP congestion control of the client's side, e.g. reno")
    add("--cpu", type=int, action="append", help="pin the client to this CPU (repeatable)")
    add("--pid", type=int, action="append", default=[], help="broker process, to count its CPU")
    add("--floor", action="store_true", help="the address is that of a floor server")
    add("--keep-topic", action="store_true")
    add("--json", action="store_true")
    return parser.parse_args(argv)


def workload_of(args: argparse.Namespace) -> Workload:
    """The named workload with what the command line changes."""
    names = (
        "in_flight connections partitions partitions_per_request acks idempotent batch_bytes "
        "record_bytes fetch_bytes fill_bytes fetch_mode discard verify_crc api_version "
        "socket_buffer_bytes congestion"
    )
    changes: dict[str, Any] = {
        name: getattr(args, name) for name in names.split() if getattr(args, name) is not None
    }
    return replace(WORKLOADS[args.workload], **changes)


def run_once(
    cluster: ClusterLike, workload: Workload, args: argparse.Namespace
) -> tuple[Report, dict[str, Any]]:
    """The report, and what was found besides."""
    layout = prepare_topic(cluster, workload)
    before = [cluster.offsets(layout, p)[1] for p in sorted(layout.leaders)]
    written = 0
    with Load(cluster, workload, layout) as load:
        if args.warmup > 0:
            written += load.run(seconds=args.warmup).counts["records"]
        broker_cpu_s = process_stats.cpu_s(args.pid)
        report = load.run(seconds=args.seconds, max_requests=args.max_requests)
        broker_cpu_s = process_stats.cpu_s(args.pid) - broker_cpu_s
        written += report.counts["records"]
    after = [cluster.offsets(layout, p)[1] for p in sorted(layout.leaders)]
    grown = sum(after) - sum(before)
    extra: dict[str, Any] = {"topic": layout.name, "log_end_offset_grew_by": grown}
    if args.pid:
        extra["broker_cpu_s"] = round(broker_cpu_s, 3)
        extra["broker_cpu_s_per_gb"] = round(broker_cpu_s * 1e9 / report.record_bytes, 3)
        extra["broker_rss_bytes"] = process_stats.memory(args.pid).rss
    if not args.keep_topic:
        cluster.delete_topic(layout.name)
    if workload.kind == "produce" and grown != written:
        raise SystemExit(f"{written} records were acknowledged, but the log grew by {grown}")
    return report, extra


def show(report: Report, extra: dict[str, Any]) -> str:
    latency = "  ".join(f"{name} {value:,.0f}" for name, value in report.latency_us.items())
    lines = [
        f"{report.workload}: {report.requests_per_s:,.0f} requests/s, "
        f"{report.mb_per_s:,.1f} MB/s in {report.elapsed_s:.2f} s",
        f"  latency (us): {latency}",
        f"  client: {report.client_cpu_s:.2f} CPU s, {report.client_cpu_share:.0%} of its thread",
    ]
    if "broker_cpu_s" in extra:
        lines.append(
            f"  broker: {extra['broker_cpu_s']:.2f} CPU s, {extra['broker_cpu_s_per_gb']:.2f} "
            f"CPU s/GB, {extra['broker_rss_bytes'] / 1e6:,.0f} MB resident"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    if args.cpu:
        os.sched_setaffinity(0, args.cpu)
    cluster: ClusterLike = (
        FloorCluster(parse_address(args.bootstrap)) if args.floor else Cluster(args.bootstrap)
    )
    report, extra = run_once(cluster, workload_of(args), args)
    print(json.dumps(report.to_json() | extra) if args.json else show(report, extra))


if __name__ == "__main__":
    main()
