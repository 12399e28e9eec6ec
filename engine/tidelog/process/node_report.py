"""What a host's supervisor says about its nodes. Pure values (msgspec)."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class NodePhase(IntEnum):
    """What a node of a host is at. GONE: its process has ended, and it is started again."""

    STARTING = 0
    SERVING = 1
    GONE = 2


class NodeReport(msgspec.Struct, frozen=True):
    """A node's present life (the last one, if it is gone); applied: version of the metadata that
    has taken effect on it, -1 when nobody has to wait for it.
    """

    node_id: int
    node_epoch: int
    phase: NodePhase
    applied: int = -1
