"""Tidelog itself, started as a user starts it; with several workers it is as many nodes."""

import importlib.metadata

from bench.versus.peers.base import FSYNC, PAGE_CACHE, Peer
from tidelog.benchmarks.targets import TidelogTarget


class TidelogPeer(Peer, TidelogTarget):
    """`tidelog serve`."""

    durabilities = {PAGE_CACHE: {}, FSYNC: {"flush.messages": "1"}}  # noqa: RUF012

    def version(self) -> str:
        return importlib.metadata.version("tidelog")
