"""What CreateTopics, CreatePartitions and DeleteTopics do alike about the quota of changes
(`controller_mutation_rate`, KIP-599): each partition that is made or removed counts.

Belongs to the request's task. From the version of an API on that knows the error a request beyond
the quota is refused, item by item; before it everything is carried out, and the client has to wait
afterwards. A request that changes nothing (validate_only) counts too, as in Kafka.
"""

from __future__ import annotations

from typing import Final

from tidelog.handlers.context import RequestContext
from tidelog.protocol.error_codes import ErrorCode
from tidelog.quotas.clients import Mutations

QUOTA_EXCEEDED: Final = ErrorCode.THROTTLING_QUOTA_EXCEEDED


def mutations(context: RequestContext, strict_from: int) -> Mutations | None:
    """What the request may change; None: whatever it wants. strict_from: first version of the API
    whose clients know the error.
    """
    return context.services.quotas.mutations(
        context.connection, context.client_id, strict=context.api_version >= strict_from
    )


def owe(context: RequestContext, allowed: Mutations | None) -> None:
    """Everything of the request was asked for: its client waits for what was too much."""
    if allowed is not None:
        context.owed_ms = allowed.throttle_ms
