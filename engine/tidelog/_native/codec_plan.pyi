"""Types of the compiled message tables. Only tidelog.protocol.schema builds them."""

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
