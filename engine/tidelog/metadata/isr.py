"""What a leader asks of the controller about an ISR, and what it hears: the items of AlterIsr.

Pure values, known to the node (`replication/isr_changes.py`) and to the controller
(`controller/isr_changes.py`), of which neither knows the other.
"""

from __future__ import annotations

import msgspec


class IsrChange(msgspec.Struct, frozen=True):
    """The ISR that a leader wants for a partition, as (node id, node epoch).

    leader_epoch, partition_epoch: those of the state that it changes.
    """

    topic_id: bytes
    partition: int
    leader_epoch: int
    partition_epoch: int
    new_isr: tuple[tuple[int, int], ...]


class AlteredIsr(msgspec.Struct, frozen=True):
    """The answer for one partition: an error, or the state that is committed."""

    topic_id: bytes
    partition: int
    error_code: int
    leader: int = -1
    leader_epoch: int = -1
    isr: tuple[int, ...] = ()
    partition_epoch: int = -1
