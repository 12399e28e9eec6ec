"""The floor: a bare loop in C that does the least that a broker must do. No peer, but a bound."""

from bench.versus.peers.base import RenewedPeer
from tidelog.benchmarks.targets import FloorTarget


class FloorPeer(RenewedPeer, FloorTarget):
    """It has partitions by number and no topics."""

    cannot = {  # noqa: RUF012
        "idempotence": "it checks no sequences",
        "latency": "it has no waiting fetches",
        "nodes": "it does not replicate",
    }
