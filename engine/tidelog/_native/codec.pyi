"""Types of the native table-driven codec. Handlers use tidelog.protocol.codec instead."""

from typing import Any

KINDS: dict[str, int]

class Plan:
    """Compiled table of one struct in one version; min_size in bytes."""

    cls: type[Any]
    name: str
    version: int
    flexible: bool
    min_size: int
    def __init__(
        self,
        cls: type[Any],
        version: int,
        flexible: bool,
        regular: list[tuple[Any, ...]],
        tagged: list[tuple[Any, ...]],
        absent: list[tuple[Any, ...]],
    ) -> None: ...

def decode(
    plan: Plan,
    buffer: bytes | bytearray | memoryview,
    offset: int = 0,
    keep_unknown: bool = False,
) -> tuple[Any, int]: ...
def encode(plan: Plan, message: object) -> bytes: ...
def encode_frame(plan: Plan, message: object, header: bytes) -> bytes: ...
def encode_response_frame(
    plan: Plan, message: object, correlation_id: int, flexible_header: bool
) -> bytes: ...
