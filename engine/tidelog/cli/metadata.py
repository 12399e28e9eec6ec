"""`tidelog metadata`: the cluster as it says it is, and `rebuild` when it cannot say so any more.
Runs in the user's shell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka.admin import AdminClient

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

app = typer.Typer(help="Show the cluster: nodes, topics, leaders.", invoke_without_command=True)


@app.callback()
def default(
    context: typer.Context,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    topics: Annotated[bool, typer.Option("--topics/--no-topics", help="With partitions.")] = True,
    internal: Annotated[
        bool, typer.Option("--internal", help="The broker's own topics, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the cluster: id, controller, nodes, and the partitions of every topic."""
    if context.invoked_subcommand is not None:
        return
    client = connect(bootstrap)
    found = _cluster(client)
    if topics:
        found["topics"] = _topics(client, internal)
    if json:
        print_json(found)
        return
    typer.echo(f"cluster {found['cluster_id']}  controller {found['controller_id']}")
    print_table(
        {"node": "right", "address": "left", "rack": "left"},
        ((node["id"], node["address"], node["rack"] or "") for node in found["nodes"]),
    )
    if found.get("topics"):
        typer.echo("")
        print_table(
            {
                "topic": "left",
                "partition": "right",
                "leader": "right",
                "replicas": "left",
                "in sync": "left",
            },
            (
                (
                    topic["name"],
                    partition["partition"],
                    "none" if partition["leader"] is None else partition["leader"],
                    ",".join(map(str, partition["replicas"])),
                    ",".join(map(str, partition["isr"])),
                )
                for topic in found["topics"]
                for partition in topic["partitions"]
            ),
        )


@app.command("rebuild")
def rebuild(
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of the broker (default: ./tidelog-data)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also when the store is good. It is set aside.")
    ] = False,
    json: Json = False,
) -> None:
    """Restore the topics from the logs when the metadata store is lost or damaged.

    The broker must be stopped. No log is changed or deleted, the old store is kept under another
    name; configs of topics, brokers and groups are lost.
    """
    # Only now: it loads most of a broker, which the other commands have no need of.
    from tidelog.cli.metadata_rebuild import run_rebuild

    run_rebuild(data_dir, force=force, json=json)


def _cluster(client: AdminClient) -> dict[str, Any]:
    future = client.describe_cluster(request_timeout=TIMEOUT_S)
    cluster = result_of(future, "the cluster cannot be described")
    return {
        "cluster_id": cluster.cluster_id,
        "controller_id": None if cluster.controller is None else cluster.controller.id,
        "nodes": [
            {"id": node.id, "address": f"{node.host}:{node.port}", "rack": node.rack}
            for node in sorted(cluster.nodes, key=lambda node: node.id)
        ],
    }


def _topics(client: AdminClient, internal: bool) -> list[dict[str, Any]]:
    metadata = client.list_topics(timeout=TIMEOUT_S)
    names = sorted(name for name in metadata.topics if internal or not name.startswith("__"))
    return [
        {
            "name": name,
            "partitions": [
                {
                    "partition": one.id,
                    "leader": one.leader if one.leader >= 0 else None,
                    "replicas": list(one.replicas),
                    "isr": list(one.isrs),
                }
                for _, one in sorted(metadata.topics[name].partitions.items())
            ],
        }
        for name in names
    ]
