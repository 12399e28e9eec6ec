"""Stub of the request header and gates (ext/tidelog/_native/request.pyx)."""

from typing import Any

class Gates:
    authorizer: Any
    quotas: Any
    transactions: Any
    followers: Any
    stage_clocks: Any
    def __init__(self) -> None: ...
