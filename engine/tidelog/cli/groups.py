"""`tidelog groups`: list, describe, reset, delete. Runs in the user's shell.

Groups of both protocols. What a reset would do is shown; only `--execute` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    TIMEOUT_S,
    Bootstrap,
    CommandError,
    Json,
    connect,
    named,
    print_json,
    print_table,
    result_of,
    topic_partitions,
)
from tidelog.cli.group_offsets import Key, check_inactive, committed_offsets, end_offsets, word
from tidelog.cli.group_resets import Reset, chosen, planned, topic_names

app = typer.Typer(help="List, describe, reset and delete consumer groups.", no_args_is_help=True)

Group = Annotated[str, typer.Argument(metavar="GROUP", callback=named)]
_STATES = {state.name.lower(): state for state in ConsumerGroupState}
_TYPES = {kind.name.lower(): kind for kind in ConsumerGroupType}


@app.command(name="list")
def list_groups(
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only these: stable, empty, ...; many times."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only classic or consumer ones."),
    ] = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """List groups."""
    filters: dict[str, Any] = {}
    if state:
        filters["states"] = {_known("--state", name, _STATES) for name in state}
    if kind:
        filters["types"] = {_known("--type", name, _TYPES) for name in kind}
    client = connect(bootstrap)
    found = result_of(
        client.list_consumer_groups(request_timeout=TIMEOUT_S, **filters),
        "the groups cannot be listed",
    )
    if found.errors:
        raise CommandError(f"not all groups can be listed: {found.errors[0]}")
    rows = [
        {"group": one.group_id, "type": word(one.type), "state": word(one.state)}
        for one in sorted(found.valid, key=lambda one: str(one.group_id))
    ]
    if json:
        print_json(rows)
    else:
        print_table(dict.fromkeys(("group", "type", "state"), "left"), (r.values() for r in rows))


@app.command()
def describe(
    names: Annotated[list[str] | None, typer.Argument(metavar="[GROUP...]", callback=named)] = None,
    members: Annotated[
        bool, typer.Option("--members", help="The members and what each of them has.")
    ] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Describe groups: state, committed offsets, lag, and who consumes what."""
    client = connect(bootstrap)
    wanted = names or _all_names(client)
    found = [_described(client, one) for one in _descriptions(client, wanted)]
    if json:
        print_json(found)
        return
    for position, group in enumerate(found):
        if position:
            typer.echo("")
        total = sum(row["lag"] or 0 for row in group["offsets"])
        typer.echo(
            f"{group['group']}  {group['type']}  {group['state']}  coordinator "
            f"{group['coordinator']}  members {len(group['members'])}  lag {total}"
        )
        if members:
            _print_members(group["members"])
        else:
            _print_offsets(group["offsets"])


@app.command()
def reset(
    group: Group,
    topic: Annotated[
        list[str] | None,
        typer.Option(metavar="TOPIC[:P,P...]", help="This one, or these partitions; many times."),
    ] = None,
    all_topics: Annotated[
        bool, typer.Option("--all-topics", help="Every topic that the group has offsets of.")
    ] = False,
    to_earliest: Annotated[
        bool, typer.Option("--to-earliest", help="To the first record.")
    ] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="To the end.")] = False,
    to_offset: Annotated[int | None, typer.Option(min=0, help="To this offset.")] = None,
    shift_by: Annotated[
        int | None, typer.Option(help="So many on from what is committed; negative: back.")
    ] = None,
    to_datetime: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="To the first record from 2026-01-31T12:00:00 on."),
    ] = None,
    by_duration: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="To the first record of the last PT2H30M (or 90m)."),
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it, not only show it.")] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Move the committed offsets of a group that has no members. Without --execute nothing is
    changed.
    """
    if not group:
        raise typer.BadParameter("GROUP is empty")
    where = Reset.parse(
        to_earliest=to_earliest,
        to_latest=to_latest,
        to_offset=to_offset,
        shift_by=shift_by,
        to_datetime=to_datetime,
        by_duration=by_duration,
    )
    if bool(topic) == all_topics:
        raise typer.BadParameter("either --topic or --all-topics is needed")
    names = topic_names(topic or ())
    client = connect(bootstrap)
    check_inactive(client, group)
    committed = committed_offsets(client, group)
    keys = sorted(committed) if all_topics else chosen(topic or (), topic_partitions(client, names))
    if not keys:
        raise CommandError(f"group {group} has no committed offsets")
    plan = planned(client, where, keys, committed)
    if execute:
        _commit(client, group, {key: new for key, _, new in plan})
    rows = [
        {"group": group, "topic": key[0], "partition": key[1], "from": old, "to": new}
        for key, old, new in plan
    ]
    if json:
        print_json(rows)
        return
    _print(rows, ("partition", "from", "to"))
    if not execute:
        typer.echo("nothing was changed: --execute does it", err=True)


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="GROUP...", callback=named)],
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> None:
    """Delete groups without members, with their offsets."""
    client = connect(bootstrap)
    futures = client.delete_consumer_groups(list(names), request_timeout=TIMEOUT_S)
    problems = []
    for name, future in futures.items():
        try:
            result_of(future, f"group {name} was not deleted")
            typer.echo(f"deleted {name}")
        except CommandError as error:
            problems.append(str(error))
    if problems:
        raise CommandError("; ".join(problems))


# -- what is asked ------------------------------------------------------------------------------


def _all_names(client: AdminClient) -> list[str]:
    found = result_of(
        client.list_consumer_groups(request_timeout=TIMEOUT_S), "the groups cannot be listed"
    )
    return sorted(str(one.group_id) for one in found.valid)


def _descriptions(client: AdminClient, names: Sequence[str]) -> list[ConsumerGroupDescription]:
    """Raises CommandError for a group that does not exist."""
    if not names:
        return []
    futures = client.describe_consumer_groups(list(names), request_timeout=TIMEOUT_S)
    found = []
    for name, future in futures.items():
        one = result_of(future, f"group {name} cannot be described")
        if one.state == ConsumerGroupState.DEAD:
            raise CommandError(f"group {name} is not known")
        found.append(one)
    return found


def _commit(client: AdminClient, group: str, targets: dict[Key, int]) -> None:
    wanted = [TopicPartition(*key, offset) for key, offset in targets.items()]
    futures = client.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=TIMEOUT_S
    )
    what = f"group {group} was not reset"
    for one in result_of(futures[group], what).topic_partitions or ():
        if one.error is not None:
            raise CommandError(f"{what}: {one.topic}-{one.partition}: {one.error.str()}")


def _described(client: AdminClient, found: ConsumerGroupDescription) -> dict[str, Any]:
    group = str(found.group_id)
    members = [
        {
            "member": member.member_id,
            "instance": member.group_instance_id or None,
            "client": member.client_id,
            "host": member.host,
            "partitions": sorted(
                f"{one.topic}-{one.partition}" for one in member.assignment.topic_partitions
            ),
        }
        for member in found.members
    ]
    owners = {
        (one.topic, one.partition): member
        for member in found.members
        for one in member.assignment.topic_partitions
    }
    committed = committed_offsets(client, group)
    keys = sorted({*committed, *owners})
    ends = end_offsets(client, keys)
    rows = []
    for key in keys:
        offset, end = committed.get(key), ends.get(key)
        owner = owners.get(key)
        rows.append(
            {
                "topic": key[0],
                "partition": key[1],
                "committed": offset,
                "end": end,
                "lag": None if offset is None or end is None else max(end - offset, 0),
                "member": None if owner is None else owner.member_id,
                "client": None if owner is None else owner.client_id,
                "host": None if owner is None else owner.host,
            }
        )
    return {
        "group": group,
        "type": word(found.type),
        "state": word(found.state),
        "coordinator": found.coordinator.id,
        "assignor": found.partition_assignor or None,
        "members": members,
        "offsets": rows,
    }


# -- how it is shown ----------------------------------------------------------------------------


def _print_offsets(rows: list[dict[str, Any]]) -> None:
    if rows:
        _print(rows, ("partition", "committed", "end", "lag"))


def _print_members(members: list[dict[str, Any]]) -> None:
    if members:
        rows = [member | {"partitions": " ".join(member["partitions"])} for member in members]
        _print(rows, ())


def _print(rows: list[dict[str, Any]], numbers: Sequence[str]) -> None:
    columns = {name: "right" if name in numbers else "left" for name in rows[0]}
    print_table(columns, (["-" if v is None else v for v in row.values()] for row in rows))


def _known(option: str, name: str, words: dict[str, Any]) -> Any:
    """The state or type of that name, however it is written."""
    for value in words.values():
        if word(value).lower() == name.lower():
            return value
    known = ", ".join(word(value) for value in words.values())
    raise typer.BadParameter(f"{option} {name}: one of {known} is expected")
