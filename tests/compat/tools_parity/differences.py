"""Differences that are meant, with their reasons, where several scenarios need them."""

from __future__ import annotations

from tidelog.handlers.coverage import REASONS
from tidelog.handlers.registry import APIS
from tidelog.protocol.api import ApiKey

ELR_REASON = (
    "Kafka's storage tool writes min.insync.replicas=1 for the whole cluster, which its eligible "
    "leader replicas need; partitions have one replica here"
)
ELR = {r"min\.insync\.replicas=1,?": ELR_REASON}

NOT_SERVED = {r"^.*$": "the API is not served yet, see docs/protocol-coverage.md"}

#: Client telemetry is served by neither.
_TELEMETRY = (ApiKey.GET_TELEMETRY_SUBSCRIPTIONS, ApiKey.PUSH_TELEMETRY)
FEWER_APIS = {
    rf"^\w+\({int(key)}\): .*$": reason
    for key, reason in REASONS.items()
    if key not in {api.key for api in APIS} and key not in _TELEMETRY
}
