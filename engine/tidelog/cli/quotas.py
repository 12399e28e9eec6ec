"""Client quotas for `tidelog configs`: read and changed by requests of our own, since the client
library knows none of them. Runs in the user's shell.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import typer

from tidelog.cli.cluster import CONNECT_TIMEOUT_S, TIMEOUT_S, CommandError, check_reachable
from tidelog.errors import TidelogError
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    EntityData,
    EntryData,
    OpData,
)
from tidelog.protocol.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)
from tidelog.protocol.schema import Request, Response

R = TypeVar("R", bound=Response)

#: The name that stands for all that have no quota of their own.
DEFAULT: Final = "default"
_VERSION: Final = 1
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024

#: Whom quotas are of: names by type, None for the default.
Entity = Mapping[str, str | None]


def entity_of(user: str | None, client: str | None, ip: str | None) -> dict[str, str | None]:
    """The entity that the options name; empty when they name none. Raises typer.BadParameter."""
    given = {"user": user, "client-id": client, "ip": ip}
    entity = {
        kind: None if name == DEFAULT else name for kind, name in given.items() if name is not None
    }
    if "ip" in entity and len(entity) > 1:
        raise typer.BadParameter("--ip stands alone")
    return entity


def words(entity: Entity) -> str:
    """The entity as a sentence names it."""
    return ", ".join(f"{kind} {DEFAULT if name is None else name}" for kind, name in entity.items())


def describe(bootstrap: str, entity: Entity) -> dict[str, float]:
    """Exactly that entity's quotas. Raises CommandError."""
    request = DescribeClientQuotasRequest(
        components=[
            ComponentData(entity_type=kind, match_type=1 if name is None else 0, match=name)
            for kind, name in entity.items()
        ],
        strict=True,
    )
    answer = _ask(bootstrap, request, DescribeClientQuotasResponse)
    if answer.error_code:
        raise CommandError(f"{words(entity)} cannot be described: {answer.error_message}")
    return {value.key: value.value for entry in answer.entries or () for value in entry.values}


def alter(
    bootstrap: str,
    entity: Entity,
    values: Mapping[str, str],
    delete: Iterable[str],
    *,
    validate_only: bool,
) -> None:
    """Sets and ends quotas. Raises CommandError, typer.BadParameter."""
    ops = [OpData(key=key, value=_number(key, value)) for key, value in values.items()]
    ops += [OpData(key=key, remove=True) for key in delete]
    names = [EntityData(entity_type=kind, entity_name=name) for kind, name in entity.items()]
    request = AlterClientQuotasRequest(
        entries=[EntryData(entity=names, ops=ops)], validate_only=validate_only
    )
    for entry in _ask(bootstrap, request, AlterClientQuotasResponse).entries:
        if entry.error_code:
            raise CommandError(f"{words(entity)} was not changed: {entry.error_message}")


def shown(value: float) -> str:
    """A quota as it is written: without a fraction when it has none."""
    return str(int(value)) if value.is_integer() else str(value)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"--set {key}={text}: a number is expected") from None


def _ask(bootstrap: str, request: Request, expected: type[R]) -> R:
    check_reachable(bootstrap)
    problem: object = None
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with socket.create_connection(
                (host.strip("[]"), int(port)), CONNECT_TIMEOUT_S
            ) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.sendall(encode_request_frame(request, _VERSION, 1, "tidelog"))
                _, answer = decode_response(request.API, _VERSION, _frame(connection))
        except (OSError, TidelogError) as error:
            problem = error
            continue
        if isinstance(answer, expected):
            return answer
    raise CommandError(f"the cluster gave no answer: {problem}")


def _frame(connection: socket.socket) -> bytes:
    size = int.from_bytes(_exactly(connection, 4), "big")
    if size > _ANSWER_BYTES_MAX:
        raise OSError(f"an answer of {size} bytes")
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError("the connection was closed")
        data += piece
    return bytes(data)
