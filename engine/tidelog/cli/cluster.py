"""What all commands share: the options, a client, and errors as a user reads them."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Annotated, Any, Final, TypeVar

import typer
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.table import Table

T = TypeVar("T")
Client = AdminClient | Consumer | Producer

#: How long a command waits for the cluster. Seconds, as confluent-kafka takes them.
TIMEOUT_S: Final = 15.0

PORT_MAX: Final = 65535

#: How long one address is tried.
CONNECT_TIMEOUT_S: Final = 5.0

Bootstrap = Annotated[
    str,
    typer.Option(
        "--bootstrap",
        envvar="TIDELOG_BOOTSTRAP",
        metavar="HOST:PORT[,HOST:PORT...]",
        help="Where the cluster is reached.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Configs = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="KEY=VALUE", help="A topic config; may be given many times."),
]

DEFAULT_BOOTSTRAP: Final = "127.0.0.1:9092"


class CommandError(Exception):
    """What the user asked for was not done; the message is one line."""


def connect(bootstrap: str) -> AdminClient:
    """A client, to be kept until its last answer. Raises CommandError (check_reachable)."""
    check_reachable(bootstrap)
    return AdminClient(client_settings(bootstrap), logger=silent_logger())


def silent_logger() -> logging.Logger:
    """The client reports each failed attempt by itself; a command says once what went wrong."""
    silent = logging.Logger("librdkafka")
    silent.addHandler(logging.NullHandler())
    return silent


def client_settings(bootstrap: str, **more: object) -> dict[str, Any]:
    """What every client of the library is made with; names of `more` with _ instead of dots."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "client.id": "tidelog",
        "socket.connection.setup.timeout.ms": 5000,
    }
    return settings | {name.replace("_", "."): value for name, value in more.items()}


def check_reachable(bootstrap: str) -> None:
    """Raises CommandError when nobody listens at any address: a client would go on trying until
    its time is up. Raises typer.BadParameter for what is no address.
    """
    places = [(address.strip(), *_host_port(address.strip())) for address in bootstrap.split(",")]
    problems = []
    for address, host, port in places:
        try:
            socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
            break
        except OSError as error:
            problems.append(f"{address}: {error.strerror or error}")
    else:
        raise CommandError(f"the cluster cannot be reached: {', '.join(problems)}")


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if not host or not 1 <= number <= PORT_MAX:
        raise typer.BadParameter(f"--bootstrap {address}: HOST:PORT is expected")
    return host.strip("[]"), number


def result_of(future: Future[T], what: str) -> T:
    """The result of a request. Raises CommandError."""
    try:
        return future.result(TIMEOUT_S + 5)
    except KafkaException as error:
        raise CommandError(f"{what}: {reason(error)}") from error
    except TimeoutError as error:
        raise CommandError(f"{what}: no answer in {TIMEOUT_S:.0f} s") from error


def reason(error: KafkaException) -> str:
    """Why a request failed: the broker's sentence, else the client's."""
    detail = error.args[0]
    text = detail.str() if hasattr(detail, "str") else str(detail)
    name = detail.name() if hasattr(detail, "name") else ""
    if name in ("_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT"):
        return "the cluster cannot be reached"
    return f"{text} ({name})" if name and name not in text else text


def named(given: Any) -> Any:
    """Callback of arguments that name something: one name, several or none. Raises
    typer.BadParameter.
    """
    if "" in ([given] if isinstance(given, str) else given or ()):
        raise typer.BadParameter("a name is empty")
    return given


def parse_configs(given: Iterable[str] | None, option: str = "--config") -> dict[str, str]:
    """`key=value` texts of an option by key. Raises typer.BadParameter."""
    configs: dict[str, str] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{option} {text}: it is not KEY=VALUE")
        if key.strip() in configs:
            raise typer.BadParameter(f"{option} {key.strip()} is given twice")
        configs[key.strip()] = value.strip()
    return configs


def give_up_output() -> int:
    """Whoever read standard output has gone (| head): no error, status 0. The interpreter flushes
    once more at its end; that goes nowhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def topic_partitions(client: Client, names: Iterable[str]) -> dict[str, list[int]]:
    """The partitions of the topics, which are not created by it. Raises CommandError."""
    try:
        found = client.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise CommandError(f"the topics cannot be listed: {reason(error)}") from error
    partitions = {}
    for name in names:
        if name not in found:
            raise CommandError(f"topic {name} is not known")
        partitions[name] = sorted(found[name].partitions)
    return partitions


def print_json(value: object) -> None:
    """For programs: one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Mapping[str, str], rows: Iterable[Iterable[object]]) -> None:
    """For people. columns: title to "left" or "right". Without a terminal nothing is cut to a
    width.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in columns.items():
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=True)
    console = Console(file=sys.stdout, highlight=False, markup=False)
    shown = [[str(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        console.width = 10_000 + sum(len(cell) for cell in max(shown, key=_width, default=[]))
    for row in shown:
        table.add_row(*row)
    console.print(table)


def _width(row: Sequence[str]) -> int:
    return sum(map(len, row))
