"""`tidelog configs`: configs of topics and nodes, quotas of users, clients and addresses, shown and
changed. Runs in the user's shell.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from tidelog.cli import cluster_configs, quotas
from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    TIMEOUT_S,
    Bootstrap,
    CommandError,
    Json,
    connect,
    parse_configs,
    print_json,
    print_table,
    reason,
    result_of,
)

app = typer.Typer(help="Describe and change configs.", no_args_is_help=True)

Topic = Annotated[str | None, typer.Option(help="Of this topic.")]
Broker = Annotated[
    str | None, typer.Option(help="Of the node with this id. 'default': of all nodes.")
]
_ANY = "'default': of all without their own."
User = Annotated[str | None, typer.Option(help=f"Quotas of this user. {_ANY}")]
ClientId = Annotated[str | None, typer.Option("--client", help=f"Quotas of this client id. {_ANY}")]
Ip = Annotated[str | None, typer.Option(help=f"Quotas of this address. {_ANY}")]


@app.command()
def describe(
    topic: Topic = None,
    broker: Broker = None,
    user: User = None,
    client: ClientId = None,
    ip: Ip = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Defaults, too, not only what was set.")
    ] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Show configs, and where each value comes from; or quotas."""
    entity = _entity(topic, broker, user, client, ip)
    if entity:
        _print_quotas(quotas.describe(bootstrap, entity), json)
        return
    if topic is None and broker == cluster_configs.DEFAULT:
        found = cluster_configs.describe(bootstrap)
        rows = [
            _row(one.name, one.value, one.config_source, one.is_sensitive, one.read_only)
            for one in found
        ]
        _print_rows(rows, json)
        return
    resource = _resource(topic, broker)
    admin = connect(bootstrap)
    _check_node(admin, broker)
    futures = admin.describe_configs([resource], request_timeout=TIMEOUT_S)
    entries = result_of(futures[resource], f"{_name(resource)} cannot be described")
    rows = [
        _row(entry.name, entry.value, entry.source, entry.is_sensitive, entry.is_read_only)
        for entry in entries.values()
        if everything or source_name(entry.source) != "default"
    ]
    _print_rows(rows, json)


def _row(
    name: str, value: str | None, source: Any, is_sensitive: bool, read_only: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "value": "(secret)" if is_sensitive else value,
        "source": source_name(source),
        "read_only": bool(read_only),
    }


def _print_rows(rows: list[dict[str, Any]], json: bool) -> None:
    rows.sort(key=lambda row: str(row["name"]))
    if json:
        print_json(rows)
        return
    print_table(
        {"name": "left", "value": "left", "source": "left"},
        (
            (row["name"], "" if row["value"] is None else row["value"], row["source"])
            for row in rows
        ),
    )


@app.command()
def alter(
    topic: Topic = None,
    broker: Broker = None,
    user: User = None,
    client: ClientId = None,
    ip: Ip = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Many times.")
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option("--delete", metavar="KEY", help="Back to the default; many times."),
    ] = None,
    append: Annotated[
        list[str] | None,
        typer.Option("--append", metavar="KEY=VALUE", help="Add to a list; many times."),
    ] = None,
    subtract: Annotated[
        list[str] | None,
        typer.Option("--subtract", metavar="KEY=VALUE", help="Take from a list; many times."),
    ] = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check, and change nothing.")
    ] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> None:
    """Change configs or quotas; those that are not named stay."""
    entity = _entity(topic, broker, user, client, ip)
    if entity:
        if append or subtract:
            raise typer.BadParameter("a quota is no list: --set or --delete")
        numbers = parse_configs(values, "--set")
        if not numbers and not delete:
            raise typer.BadParameter("nothing to change: --set or --delete")
        quotas.alter(bootstrap, entity, numbers, delete or (), validate_only=validate_only)
        typer.echo(f"{'valid for' if validate_only else 'changed'} {quotas.words(entity)}")
        return
    changes = [
        (AlterConfigOpType.SET, parse_configs(values, "--set")),
        (AlterConfigOpType.APPEND, parse_configs(append, "--append")),
        (AlterConfigOpType.SUBTRACT, parse_configs(subtract, "--subtract")),
        # The library wants a value also where none is sent.
        (AlterConfigOpType.DELETE, dict.fromkeys(delete or (), "")),
    ]
    if not any(configs for _, configs in changes):
        raise typer.BadParameter("nothing to change: --set, --delete, --append or --subtract")
    if topic is None and broker == cluster_configs.DEFAULT:
        _alter_all(bootstrap, changes, validate_only)
        typer.echo(f"{'valid for' if validate_only else 'changed'} all nodes")
        return
    resource = _resource(topic, broker)
    entries = [
        ConfigEntry(key, value, incremental_operation=operation)
        for operation, configs in changes
        for key, value in configs.items()
    ]
    _alter(connect(bootstrap), resource, entries, validate_only)
    typer.echo(f"{'valid for' if validate_only else 'changed'} {_name(resource)}")


def _alter_all(
    bootstrap: str, changes: list[tuple[AlterConfigOpType, dict[str, str]]], validate_only: bool
) -> None:
    wanted = [
        cluster_configs.Change(
            key, operation.value, None if operation is AlterConfigOpType.DELETE else value
        )
        for operation, configs in changes
        for key, value in configs.items()
    ]
    cluster_configs.alter(bootstrap, wanted, validate_only=validate_only)


def _alter(
    client: AdminClient, resource: ConfigResource, entries: list[ConfigEntry], validate_only: bool
) -> None:
    changed = ConfigResource(resource.restype, resource.name, incremental_configs=entries)
    futures = client.incremental_alter_configs(
        [changed], request_timeout=TIMEOUT_S, validate_only=validate_only
    )
    for future in futures.values():
        result_of(future, f"{_name(resource)} was not changed")


def _entity(
    topic: str | None, broker: str | None, user: str | None, client: str | None, ip: str | None
) -> dict[str, str | None]:
    entity = quotas.entity_of(user, client, ip)
    if entity and (topic is not None or broker is not None):
        raise typer.BadParameter("--topic or --broker, or --user, --client or --ip")
    return entity


def _print_quotas(found: dict[str, float], json: bool) -> None:
    rows = [{"name": key, "value": found[key]} for key in sorted(found)]
    if json:
        print_json(rows)
        return
    print_table(
        {"name": "left", "value": "right"},
        ((key, quotas.shown(found[key])) for key in sorted(found)),
    )


def _resource(topic: str | None, broker: str | None) -> ConfigResource:
    if (topic is None) == (broker is None):
        raise typer.BadParameter("--topic, --broker, --user, --client or --ip, one of them")
    if topic is not None:
        return ConfigResource(ResourceType.TOPIC, topic)
    assert broker is not None
    if not (broker.isascii() and broker.isdigit()):
        raise typer.BadParameter(f"--broker {broker}: a node id or 'default' is expected")
    return ConfigResource(ResourceType.BROKER, broker)


def _name(resource: ConfigResource) -> str:
    return f"{'topic' if resource.restype is ResourceType.TOPIC else 'node'} {resource.name}"


def _check_node(client: AdminClient, broker: str | None) -> None:
    """The library would wait for a node that is not there. Raises CommandError."""
    if broker is None or not broker.isdigit():
        return
    try:
        nodes = client.list_topics(timeout=TIMEOUT_S).brokers
    except KafkaException as error:
        raise CommandError(f"the nodes cannot be listed: {reason(error)}") from error
    if int(broker) not in nodes:
        known = ", ".join(map(str, sorted(nodes)))
        raise CommandError(f"node {broker} is not known: there are {known}")


def source_name(source: Any) -> str:
    """Where a value comes from, in words."""
    try:
        return _SOURCES[ConfigSource(source)]
    except (KeyError, ValueError):
        return "unknown"


_SOURCES = {
    ConfigSource.DYNAMIC_TOPIC_CONFIG: "topic",
    ConfigSource.DYNAMIC_BROKER_CONFIG: "node, changed while it ran",
    ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG: "all nodes, changed while they ran",
    ConfigSource.STATIC_BROKER_CONFIG: "node's file or command line",
    ConfigSource.DEFAULT_CONFIG: "default",
}
