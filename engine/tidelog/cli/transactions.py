"""`tidelog transactions`: what is under way, and an end to what hangs. Runs in the user's shell."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    CommandError,
    Json,
    named,
    print_json,
    print_table,
)
from tidelog.cli.wire import Wire, check
from tidelog.coordinator.txn.states import BY_LABEL
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    ProducerState,
    TopicRequest,
)
from tidelog.protocol.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    TransactionState,
)
from tidelog.protocol.messages.find_coordinator import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from tidelog.protocol.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)
from tidelog.protocol.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from tidelog.protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

app = typer.Typer(help="List, describe and abort transactions.", no_args_is_help=True)

_TRANSACTION: Final = 1
#: How long an abort waits for what is under way; seconds.
_ABORT_TIMEOUT_S: Final = 30.0
_RETRY_S: Final = 0.05

TransactionalId = Annotated[str, typer.Argument(metavar="TRANSACTIONAL_ID", callback=named)]


@app.command("list")
def list_(
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only in this state, Ongoing for example.")
    ] = None,
    longer_than: Annotated[
        float, typer.Option(metavar="SECONDS", help="Only those that are open for longer.")
    ] = -1.0,
    json: Json = False,
) -> None:
    """Transactional ids that the cluster knows, with their states."""
    found: list[dict[str, Any]] = []
    request = ListTransactionsRequest(
        state_filters=[_state(name) for name in state or ()],
        duration_filter=-1 if longer_than < 0 else int(longer_than * 1000),
    )
    with Wire(bootstrap) as wire:
        for node_id in sorted(wire.nodes()):
            answer = wire.ask(node_id, request, 1, ListTransactionsResponse)
            check(answer.error_code, f"node {node_id}")
            if answer.unknown_state_filters:
                unknown = ", ".join(answer.unknown_state_filters)
                raise CommandError(f"--state {unknown}: there is no such state")
            found += (
                {
                    "transactional_id": one.transactional_id,
                    "state": one.transaction_state,
                    "producer_id": one.producer_id,
                    "coordinator": node_id,
                }
                for one in answer.transaction_states
            )
    found.sort(key=lambda one: str(one["transactional_id"]))
    if json:
        print_json(found)
        return
    print_table(
        {"transactional id": "left", "state": "left", "producer": "right", "coordinator": "right"},
        (one.values() for one in found),
    )


def _state(name: str) -> str:
    """The state of that name, however it is written."""
    for label in BY_LABEL:
        if label.lower() == name.lower():
            return label
    raise typer.BadParameter(f"--state {name}: one of {', '.join(BY_LABEL)} is expected")


@app.command()
def describe(
    transactional_id: TransactionalId,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """One transactional id: its producer, and the partitions of the transaction under way."""
    with Wire(bootstrap) as wire:
        coordinator = _coordinator(wire, transactional_id)
        found = _described(wire, coordinator, transactional_id)
    started = found.transaction_start_time_ms
    shown: dict[str, Any] = {
        "transactional_id": transactional_id,
        "state": found.transaction_state,
        "coordinator": coordinator,
        "producer_id": found.producer_id,
        "producer_epoch": found.producer_epoch,
        "timeout_ms": found.transaction_timeout_ms,
        "open_for_ms": None if started < 0 else max(int(time.time() * 1000) - started, 0),
        "partitions": [
            f"{topic.topic}-{index}" for topic in found.topics for index in sorted(topic.partitions)
        ],
    }
    if json:
        print_json(shown)
        return
    for name, value in shown.items():
        text = " ".join(value) if isinstance(value, list) else value
        typer.echo(f"{name:18} {'' if text is None else text}".rstrip())


@app.command()
def abort(
    transactional_id: Annotated[
        str | None, typer.Argument(metavar="[TRANSACTIONAL_ID]", show_default=False, callback=named)
    ] = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    topic: Annotated[
        str | None, typer.Option(help="Of a transaction that no coordinator knows any more.")
    ] = None,
    partition: Annotated[int, typer.Option(help="With --topic.")] = 0,
    start_offset: Annotated[
        int | None, typer.Option(help="With --topic: where the transaction begins.")
    ] = None,
) -> None:
    """Abort the transaction of an id, and fence its producer; or one that hangs in a partition."""
    if (transactional_id is None) == (topic is None):
        raise typer.BadParameter("either TRANSACTIONAL_ID or --topic is expected")
    with Wire(bootstrap) as wire:
        if transactional_id is not None:
            typer.echo(_abort_by_id(wire, transactional_id))
            return
        if start_offset is None:
            raise typer.BadParameter("--topic needs --start-offset")
        assert topic is not None
        _abort_in_partition(wire, topic, partition, start_offset)
        typer.echo(f"aborted in {topic}-{partition} from offset {start_offset}")


def _coordinator(wire: Wire, transactional_id: str) -> int:
    request = FindCoordinatorRequest(key_type=_TRANSACTION, coordinator_keys=[transactional_id])
    answer = wire.ask(min(wire.nodes()), request, 4, FindCoordinatorResponse)
    (found,) = answer.coordinators
    check(found.error_code, f"coordinator of {transactional_id}", found.error_message)
    return found.node_id


def _described(wire: Wire, coordinator: int, transactional_id: str) -> TransactionState:
    request = DescribeTransactionsRequest(transactional_ids=[transactional_id])
    answer = wire.ask(coordinator, request, 0, DescribeTransactionsResponse)
    (found,) = answer.transaction_states
    check(found.error_code, transactional_id)
    return found


def _abort_by_id(wire: Wire, transactional_id: str) -> str:
    """What a new producer of the id would do: its first request ends the transaction."""
    coordinator = _coordinator(wire, transactional_id)
    before = _described(wire, coordinator, transactional_id)
    request = InitProducerIdRequest(
        transactional_id=transactional_id,
        transaction_timeout_ms=before.transaction_timeout_ms,
    )
    deadline = time.monotonic() + _ABORT_TIMEOUT_S
    while True:
        answer = wire.ask(coordinator, request, 4, InitProducerIdResponse)
        if answer.error_code != ErrorCode.CONCURRENT_TRANSACTIONS:
            break
        if time.monotonic() > deadline:
            raise CommandError(f"{transactional_id}: its end takes longer than this waits")
        time.sleep(_RETRY_S)
    check(answer.error_code, transactional_id)
    if before.transaction_state == "Ongoing":
        return f"aborted {transactional_id}"
    return f"{transactional_id} was {before.transaction_state}: its producer is fenced"


def _abort_in_partition(wire: Wire, topic: str, partition: int, start_offset: int) -> None:
    described = wire.metadata([topic])
    leaders = {
        one.partition_index: one.leader_id for each in described.topics for one in each.partitions
    }
    if partition not in leaders:
        raise CommandError(f"{topic}-{partition}: there is no such partition")
    leader = leaders[partition]
    producer = _producer(wire, leader, topic, partition, start_offset)
    marker = WritableTxnMarker(
        producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch,
        transaction_result=False,
        topics=[WritableTxnMarkerTopic(name=topic, partition_indexes=[partition])],
        coordinator_epoch=max(producer.coordinator_epoch, 0),
    )
    request = WriteTxnMarkersRequest(markers=[marker])
    answer = wire.ask(leader, request, 1, WriteTxnMarkersResponse)
    for one in answer.markers:
        for each in one.topics:
            for result in each.partitions:
                check(result.error_code, f"{topic}-{partition}")


def _producer(
    wire: Wire, leader: int, topic: str, partition: int, start_offset: int
) -> ProducerState:
    request = DescribeProducersRequest(
        topics=[TopicRequest(name=topic, partition_indexes=[partition])]
    )
    answer = wire.ask(leader, request, 0, DescribeProducersResponse)
    for each in answer.topics:
        for part in each.partitions:
            check(part.error_code, f"{topic}-{partition}", part.error_message)
            for producer in part.active_producers:
                if producer.current_txn_start_offset == start_offset:
                    return producer
    raise CommandError(f"{topic}-{partition}: no transaction begins at offset {start_offset}")
