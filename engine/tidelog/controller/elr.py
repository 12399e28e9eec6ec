"""Eligible leader replicas (KIP-966): who may lead besides the ISR. Pure.

While the ISR is smaller than min.insync.replicas its leader does not move the high watermark, so
whoever leaves it then still has everything that is committed, and may lead when the ISR has nobody
left to. Without that, the last member of an ISR could lose the records of a power cut that two
others still have.

A replica stops being eligible when it may have lost records (its machine was started anew), when it
is back in the ISR, or when the ISR is large enough again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class InSync(NamedTuple):
    """isr and elr of one partition; no node is in both."""

    isr: tuple[int, ...]
    elr: tuple[int, ...]


def with_isr(before: InSync, isr: Sequence[int], min_isr: int) -> InSync:
    """The ISR becomes another one; min_isr: as it counts for the leader (at most the replicas)."""
    if len(isr) >= min_isr:
        return InSync(tuple(isr), ())
    eligible = dict.fromkeys((*before.elr, *before.isr))
    return InSync(tuple(isr), tuple(node for node in eligible if node not in isr))


def without(before: InSync, node_id: int) -> InSync:
    """The node may lack records: it is neither in sync nor eligible, unless there is nobody else.

    (It is then the best that there is: what was acknowledged with fewer replicas than the setting
    asks for, or lost by all of them, is lost.)
    """
    isr = tuple(node for node in before.isr if node != node_id)
    elr = tuple(node for node in before.elr if node != node_id)
    return InSync(isr, elr) if isr or elr else before


def elect(
    before: InSync, replicas: Sequence[int], alive: Collection[int], min_isr: int
) -> tuple[int, InSync]:
    """The leader, in the order of the replicas: of the ISR, else of the eligible ones, which then
    are the ISR; -1 when none of them is alive.
    """
    for node in replicas:
        if node in before.isr and node in alive:
            return node, before
    for node in replicas:
        if node in before.elr and node in alive:
            return node, with_isr(before, (node,), min_isr)
    return -1, before
