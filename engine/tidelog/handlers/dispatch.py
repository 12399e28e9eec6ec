"""From a request frame to a response frame, for everything that has no native lane.

Runs on the worker's loop task, called by `net` for one frame at a time per connection; knows no
socket. Three ends:

* an answer, at once or awaited, also when the handler raised KafkaError (the API's error answer) or
  failed in a way that nobody foresaw (UNKNOWN_SERVER_ERROR and one log line);
* PeerError: the peer broke the protocol, and the connection is closed with that reason, as Kafka
  does for unknown keys, unsupported versions and bytes that are no request;
* InvariantError: ours; it goes up and ends the worker.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Iterable
from struct import Struct as Packed
from typing import Final

from tidelog.errors import (
    InvariantError,
    KafkaError,
    PeerError,
    StorageError,
    UnsupportedVersionError,
)
from tidelog.handlers.api import Answer, Encoded, Handler
from tidelog.handlers.api_versions import unsupported_version_answer
from tidelog.handlers.context import ConnectionInfo, RequestContext, Services
from tidelog.handlers.error_counts import error_codes
from tidelog.handlers.throttling import began_ns, charged, measured
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import (
    Buffer,
    decode_foreign,
    encode_response_frame,
    request_class,
)
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.headers import parse_request_header
from tidelog.protocol.schema import Request, Response

log: Final = logging.getLogger(__name__)

_START: Final = Packed(">hhi")
_SIZE_AND_HEADER_0: Final = Packed(">ii")
_SIZE_AND_HEADER_1: Final = Packed(">iib")

#: The connection of requests that a node makes to itself.
_OWN: Final = ConnectionInfo(0, "", "", "", 0, principal="User:ANONYMOUS")


class Dispatcher:
    """Holds the registry's handlers by key, and the services that they call."""

    def __init__(self, services: Services, handlers: Iterable[Handler]) -> None:
        self._services = services
        self._handlers: dict[ApiKey, Handler] = {
            handler.api.key: handler for handler in handlers if handler.handle is not None
        }
        #: How often each error code was answered, by API.
        self.errors: Counter[tuple[ApiKey, int]] = Counter()

    def dispatch(self, frame: Buffer, connection: ConnectionInfo) -> bytes | Awaitable[bytes]:
        """Answer one request. `frame` is the request without its size; it is not read any more
        after this returns.

        Returns the whole response frame, or an awaitable of it (to be awaited once; cancel it when
        the connection goes). Raises PeerError when the connection has to be closed, InvariantError
        when the worker has to die; so may the awaitable.
        """
        early = _unsupported_api_versions(frame)
        if early is not None:
            return early
        header = parse_request_header(frame)
        key, version = header.api_key, header.api_version
        handler = self._handlers.get(key)
        if handler is None or not handler.api.has(version):
            raise UnsupportedVersionError(f"{key.name} version {version} is not served here")
        # What follows the message is ignored, as Kafka does: librdkafka sends Metadata version 13
        # with three bytes too many.
        request = decode_foreign(request_class(key), version, frame, header.body_offset)
        context = RequestContext(
            key, version, header.correlation_id, header.client_id, connection, self._services
        )
        assert handler.handle is not None
        began = began_ns(context)
        try:
            answer = handler.handle(request, context)
        except Exception as error:
            answer = _refuse(handler, request, context, error)
        if began:
            answer = measured(answer, context, began)
        if isinstance(answer, Awaitable):
            return self._finish(handler, request, context, answer)
        return self._frame(answer, context)

    async def answer(self, request: Request, version: int) -> Response:
        """Answer a request that this node makes to itself (PeerClient), without its wire form.

        What would close a peer's connection is ours here, and raised.
        """
        handler = self._handlers[request.API]
        assert handler.handle is not None
        context = RequestContext(request.API, version, 0, None, _OWN, self._services)
        try:
            answer = await _result(handler.handle(request, context))
        except Exception as error:
            answer = _refuse(handler, request, context, error)
        assert isinstance(answer, Response)
        return answer

    async def _finish(
        self,
        handler: Handler,
        request: Request,
        context: RequestContext,
        pending: Awaitable[Answer],
    ) -> bytes:
        try:
            answer = await pending
        except Exception as error:
            answer = _refuse(handler, request, context, error)
        return self._frame(answer, context)

    def _frame(self, answer: Answer, context: RequestContext) -> bytes:
        """Size, response header and body. An answer from a cache holds no error."""
        answer = charged(answer, context)
        if not isinstance(answer, Encoded):
            for code in error_codes(answer):
                self.errors[context.api_key, code] += 1
            return encode_response_frame(answer, context.api_version, context.correlation_id)
        body = answer.body
        if context.api_key.response_header_version(context.api_version) == 0:
            return _SIZE_AND_HEADER_0.pack(len(body) + 4, context.correlation_id) + body
        return _SIZE_AND_HEADER_1.pack(len(body) + 5, context.correlation_id, 0) + body


async def _result(pending: Answer | Awaitable[Answer]) -> Answer:
    return await pending if isinstance(pending, Awaitable) else pending


def _refuse(
    handler: Handler, request: Request, context: RequestContext, error: Exception
) -> Answer:
    """The answer for an exception of the handler. Raises what is not answered."""
    assert handler.error_answer is not None
    match error:
        case KafkaError():
            code, message = ErrorCode(error.error_code), error.message
        case InvariantError() | PeerError():
            raise error
        case StorageError():
            _log_failure(context, error)
            code, message = ErrorCode.KAFKA_STORAGE_ERROR, None
        case _:
            _log_failure(context, error)
            code, message = ErrorCode.UNKNOWN_SERVER_ERROR, None
    return handler.error_answer(request, code, message, context.api_version)


def _log_failure(context: RequestContext, error: Exception) -> None:
    log.error(
        "request failed api=%s version=%d client=%s connection=%d",
        context.api_key.name,
        context.api_version,
        context.client_id,
        context.connection.connection_id,
        exc_info=error,
    )


def _unsupported_api_versions(frame: Buffer) -> bytes | None:
    """The answer to an ApiVersions request of a version that nobody knows: version 0, so that any
    client can read it.

    Its header and body are not looked at: later versions may have changed both (KIP-511).
    """
    if len(frame) < _START.size:
        return None
    key, version, correlation_id = _START.unpack_from(frame)
    if key != ApiKey.API_VERSIONS or ApiKey.API_VERSIONS.versions.has(version):
        return None
    return encode_response_frame(unsupported_version_answer(), 0, correlation_id)
