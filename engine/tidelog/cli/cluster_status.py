"""`tidelog cluster`: are all nodes there, and is everything as often there as it should be? Runs in
the user's shell.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final

import typer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    TIMEOUT_S,
    Bootstrap,
    Json,
    connect,
    print_json,
    print_table,
    result_of,
)
from tidelog.cli.wire import Wire, check
from tidelog.protocol.messages.describe_cluster import (
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from tidelog.protocol.messages.metadata import MetadataResponse

app = typer.Typer(help="Show how the cluster's nodes and partitions are.", no_args_is_help=True)

_DESCRIBE_CLUSTER_VERSION: Final = 2
_MIN_ISR: Final = "min.insync.replicas"

#: Partitions in one line of troubles; JSON has all of them.
_SHOWN_MAX: Final = 20

Partition = tuple[str, int]


@app.callback()
def group() -> None:
    """Commands about the cluster as a whole."""


@app.command("status")
def status(
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    check_all: Annotated[
        bool, typer.Option("--check", help="Exit with status 1 unless everything is in order.")
    ] = False,
    json: Json = False,
) -> None:
    """Nodes with what they hold, and the partitions that lack a leader or replicas."""
    client = connect(bootstrap)
    with Wire(bootstrap) as wire:
        cluster = wire.ask_any(
            DescribeClusterRequest(include_fenced_brokers=True),
            _DESCRIBE_CLUSTER_VERSION,
            DescribeClusterResponse,
        )
        check(cluster.error_code, "the cluster cannot be described", cluster.error_message)
        metadata = wire.all_topics()
    found = summary(cluster, metadata, _min_isrs(client, metadata))
    if json:
        print_json(found)
    else:
        _print(found)
    if check_all and not found["in_order"]:
        raise typer.Exit(1)


def summary(
    cluster: DescribeClusterResponse, metadata: MetadataResponse, min_isrs: dict[str, int]
) -> dict[str, Any]:
    """What is shown, as JSON has it. min_isrs: by topic, of those that lack replicas."""
    leads: Counter[int] = Counter()
    holds: Counter[int] = Counter()
    lacks: Counter[int] = Counter()
    troubles: dict[str, list[Partition]] = {
        "offline": [],
        "under_replicated": [],
        "under_min_isr": [],
    }
    count = 0
    for topic in metadata.topics:
        for one in topic.partitions:
            count += 1
            leads[one.leader_id] += 1
            holds.update(one.replica_nodes)
            lacks.update(set(one.replica_nodes) - set(one.isr_nodes))
            name = (topic.name or "", one.partition_index)
            if one.leader_id < 0:
                troubles["offline"].append(name)
            if len(one.isr_nodes) < len(one.replica_nodes):
                troubles["under_replicated"].append(name)
            if len(one.isr_nodes) < min_isrs.get(topic.name or "", 0):
                troubles["under_min_isr"].append(name)
    nodes = [
        {
            "id": node.broker_id,
            "address": f"{node.host}:{node.port}",
            "rack": node.rack,
            "state": "fenced" if node.is_fenced else "live",
            "leads": leads[node.broker_id],
            "replicas": holds[node.broker_id],
            "out_of_sync": lacks[node.broker_id],
        }
        for node in sorted(cluster.brokers, key=lambda node: node.broker_id)
    ]
    return {
        "cluster_id": cluster.cluster_id,
        "topics": len(metadata.topics),
        "partitions": count,
        "nodes": nodes,
        **{
            trouble: [f"{topic}-{partition}" for topic, partition in sorted(partitions)]
            for trouble, partitions in troubles.items()
        },
        "in_order": not any(troubles.values()) and all(node["state"] == "live" for node in nodes),
    }


def _min_isrs(client: AdminClient, metadata: MetadataResponse) -> dict[str, int]:
    short = [
        topic.name
        for topic in metadata.topics
        if topic.name
        and any(len(one.isr_nodes) < len(one.replica_nodes) for one in topic.partitions)
    ]
    if not short:
        return {}
    asked = client.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in short], request_timeout=TIMEOUT_S
    )
    return {
        resource.name: int(result_of(future, f"configs of {resource.name}")[_MIN_ISR].value or 1)
        for resource, future in asked.items()
    }


def _print(found: dict[str, Any]) -> None:
    typer.echo(
        f"cluster {found['cluster_id']}  topics {found['topics']}  partitions {found['partitions']}"
    )
    print_table(
        {
            "node": "right",
            "address": "left",
            "rack": "left",
            "state": "left",
            "leads": "right",
            "replicas": "right",
            "out of sync": "right",
        },
        (
            (
                *(node["id"], node["address"], node["rack"] or "", node["state"]),
                *(node["leads"], node["replicas"], node["out_of_sync"]),
            )
            for node in found["nodes"]
        ),
    )
    for trouble, words in (
        ("offline", "without a leader"),
        ("under_min_isr", "under min.insync.replicas"),
        ("under_replicated", "under-replicated"),
    ):
        if partitions := found[trouble]:
            more = ", ..." if len(partitions) > _SHOWN_MAX else ""
            typer.echo(f"{words} ({len(partitions)}): {', '.join(partitions[:_SHOWN_MAX])}{more}")
    if found["in_order"]:
        typer.echo("all nodes live, all replicas in sync")
