"""Stub of the request header and gates (ext/tidelog/_native/request.pyx)."""

from typing import Any

from tidelog._native.request_stats import RequestStats

class Gates:
    authorizer: Any
    quotas: Any
    transactions: Any
    near_racks: dict[bytes, frozenset[int]] | None
    stats: RequestStats
    def __init__(self) -> None: ...
