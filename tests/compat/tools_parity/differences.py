"""Differences that are meant, with their reasons, where several scenarios need them."""

from __future__ import annotations

ELR_REASON = (
    "Kafka's storage tool writes min.insync.replicas=1 for the whole cluster, which its eligible "
    "leader replicas need; partitions have one replica here"
)
ELR = {r"min\.insync\.replicas=1,?": ELR_REASON}

NOT_SERVED = {r"^.*$": "the API is not served yet, see docs/protocol-coverage.md"}

FEWER_APIS = {
    r"^\w+\(\d+\): .*(UNSUPPORTED|usable).*$": "APIs that are not served, see "
    "docs/protocol-coverage.md"
}
