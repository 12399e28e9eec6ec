"""`tidelog topics`: create, list, describe, delete, alter."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from confluent_kafka import KafkaException, Node, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    TIMEOUT_S,
    Bootstrap,
    CommandError,
    Configs,
    Json,
    connect,
    named,
    parse_configs,
    print_json,
    print_table,
    reason,
    result_of,
)

app = typer.Typer(help="Create, list, describe, delete and alter topics.", no_args_is_help=True)

#: What the broker keeps in topics of its own, by their names.
INTERNAL: Final = {
    "__consumer_offsets": "groups and their offsets",
    "__transaction_state": "transactions",
}

Names = Annotated[list[str], typer.Argument(metavar="TOPIC...", callback=named)]


@app.command()
def create(
    names: Names,
    partitions: Annotated[
        int, typer.Option(help="Partitions (default: the broker's num.partitions).")
    ] = -1,
    replication_factor: Annotated[
        int, typer.Option(help="Replicas of each (default: the broker's).")
    ] = -1,
    config: Configs = None,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="A topic that is there already is no error.")
    ] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Create topics."""
    configs = parse_configs(config)
    client = connect(bootstrap)
    try:
        wanted = [
            NewTopic(
                name,
                num_partitions=partitions,
                replication_factor=replication_factor,
                config=dict(configs),
            )
            for name in names
        ]
        futures = client.create_topics(
            wanted, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S
        )
    except (ValueError, OverflowError) as error:  # the client library has limits of its own
        raise typer.BadParameter(str(error)) from error
    done, problems = [], []
    for name, future in futures.items():
        try:
            result_of(future, f"topic {name} was not created")
            done.append(name)
        except CommandError as error:
            if not (if_not_exists and _code(error) == "TOPIC_ALREADY_EXISTS"):
                problems.append(str(error))
    _report(done, problems, "created", json)


@app.command(name="list")
def list_topics(
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    internal: Annotated[
        bool, typer.Option("--internal", help="List the broker's own topics, too.")
    ] = False,
    json: Json = False,
) -> None:
    """List topics."""
    names = _names(connect(bootstrap))
    if not internal:
        names = [name for name in names if not name.startswith("__")]
    if json:
        print_json(names)
    else:
        for name in names:
            typer.echo(name)


@app.command()
def describe(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC...]", callback=named)] = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Describe topics: partitions, leaders, replicas, and the configs that were set."""
    client = connect(bootstrap)
    found = [_describe(client, name) for name in (names or _names(client))]
    if json:
        print_json(found)
        return
    for position, topic in enumerate(found):
        if position:
            typer.echo("")
        configs = " ".join(f"{key}={value}" for key, value in topic["configs"].items())
        typer.echo(f"{topic['name']}  id {topic['topic_id']}  {configs}".rstrip())
        print_table(
            {"partition": "right", "leader": "right", "replicas": "left", "in sync": "left"},
            (
                (
                    partition["partition"],
                    "none" if partition["leader"] is None else partition["leader"],
                    ",".join(map(str, partition["replicas"])),
                    ",".join(map(str, partition["isr"])),
                )
                for partition in topic["partitions"]
            ),
        )


@app.command()
def delete(
    names: Names,
    internal: Annotated[
        bool, typer.Option("--internal", help="Also topics that the broker keeps for itself.")
    ] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Delete topics with all their records."""
    for name in names:
        if name in INTERNAL and not internal:
            raise typer.BadParameter(
                f"{name} holds the broker's {INTERNAL[name]}: --internal deletes it all the same"
            )
    client = connect(bootstrap)
    futures = client.delete_topics(names, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)
    done, problems = [], []
    for name, future in futures.items():
        try:
            result_of(future, f"topic {name} was not deleted")
            done.append(name)
        except CommandError as error:
            problems.append(str(error))
    _report(done, problems, "deleted", json)


@app.command()
def alter(
    name: Annotated[str, typer.Argument(metavar="TOPIC", callback=named)],
    partitions: Annotated[
        int | None, typer.Option(help="Partitions that it shall have in all.")
    ] = None,
    config: Configs = None,
    delete_config: Annotated[
        list[str] | None,
        typer.Option("--delete-config", metavar="KEY", help="Back to the default of this config."),
    ] = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Change a topic's configs, or give it more partitions."""
    configs = parse_configs(config)
    if partitions is None and not configs and not delete_config:
        raise typer.BadParameter("nothing to change: --partitions, --config or --delete-config")
    client = connect(bootstrap)
    if configs or delete_config:
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in configs.items()
        ]
        entries += [
            # The library wants a value also where none is sent.
            ConfigEntry(key, "", incremental_operation=AlterConfigOpType.DELETE)
            for key in delete_config or ()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        for future in client.incremental_alter_configs(
            [resource], request_timeout=TIMEOUT_S
        ).values():
            result_of(future, f"topic {name} was not changed")
    if partitions is not None:
        try:
            futures = client.create_partitions(
                [NewPartitions(name, partitions)],
                operation_timeout=TIMEOUT_S,
                request_timeout=TIMEOUT_S,
            )
        except (ValueError, OverflowError) as error:
            raise typer.BadParameter(str(error)) from error
        for future in futures.values():
            result_of(future, f"topic {name} got no more partitions")
    _report([name], [], "changed", json)


def _report(done: list[str], problems: list[str], what: str, json: bool) -> None:
    """Says what was done. Raises CommandError with what was not."""
    if json:
        print_json({what: done, "errors": problems})
    else:
        for name in done:
            typer.echo(f"{what} {name}")
    if problems:
        raise CommandError("; ".join(problems))


def _code(error: CommandError) -> str:
    cause = error.__cause__
    return str(cause.args[0].name()) if isinstance(cause, KafkaException) else ""


def _names(client: AdminClient) -> list[str]:
    try:
        return sorted(client.list_topics(timeout=TIMEOUT_S).topics)
    except KafkaException as error:
        raise CommandError(f"the topics cannot be listed: {reason(error)}") from error


def _describe(client: AdminClient, name: str) -> dict[str, Any]:
    futures = client.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT_S)
    topic: TopicDescription = result_of(futures[name], f"topic {name} cannot be described")
    resource = ConfigResource(ResourceType.TOPIC, name)
    asked = client.describe_configs([resource], request_timeout=TIMEOUT_S)
    configs = result_of(asked[resource], f"configs of topic {name} cannot be described")
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {
        "name": topic.name,
        # The library writes it in the other alphabet of base64 than Kafka's tools.
        "topic_id": str(topic.topic_id).translate({ord("+"): "-", ord("/"): "_"}),
        "internal": topic.is_internal,
        "configs": {
            entry.name: entry.value
            for entry in sorted(configs.values(), key=lambda entry: entry.name)
            if entry.source == own
        },
        "partitions": [
            {
                "partition": partition.id,
                "leader": _leader(partition.leader),
                "replicas": [node.id for node in partition.replicas],
                "isr": [node.id for node in partition.isr],
            }
            for partition in topic.partitions
        ],
    }


def _leader(node: Node | None) -> int | None:
    return None if node is None else node.id
