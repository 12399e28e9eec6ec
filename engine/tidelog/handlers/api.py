"""What a handler module says about itself, and the type of a handler.

Belongs to no task. Every `handlers/<api>.py` has `API`, `handle` and `error_answer`; `registry.py`
lists them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.schema import Response

if TYPE_CHECKING:
    from tidelog.handlers.context import RequestContext


class Api(NamedTuple):
    """One implemented API: the versions that are answered. native: a lane of the net layer does it,
    not a handler.
    """

    key: ApiKey
    min_version: int
    max_version: int
    native: bool = False

    @property
    def advertised_min_version(self) -> int:
        """The lowest version that ApiVersions lists: Produce advertises more than is answered, as
        Kafka does.
        """
        return min(self.min_version, self.key.advertised.low)

    def has(self, version: int) -> bool:
        """Whether a request of this version is answered."""
        return self.min_version <= version <= self.max_version


class Encoded:
    """The body of an answer that is in its wire form already (a cached one)."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


Answer = Response | Encoded
HandlerFunction = Callable[[Any, "RequestContext"], Answer | Awaitable[Answer]]
#: (request, error code, message, version) -> the answer that refuses the whole request.
ErrorAnswer = Callable[[Any, ErrorCode, str | None, int], Response]


class Handler(NamedTuple):
    """A row of the registry. A native API has neither function."""

    api: Api
    handle: HandlerFunction | None = None
    error_answer: ErrorAnswer | None = None


def message_of(code: int, message: str | None = None) -> str | None:
    """The error_message of an answer: None without an error, the code's own text when nothing
    better is known.
    """
    if code == ErrorCode.NONE:
        return None
    return ErrorCode(code).text if message is None else message
