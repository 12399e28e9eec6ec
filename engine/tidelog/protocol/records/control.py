"""Keys and values of control records: the markers that end a transaction, and the controller's own.

Key: int16 version, int16 type (0 abort, 1 commit, 2 leader change). Value: int16 version, then the
struct. Types and the markers' layout are part of the record format (KIP-98).
"""

from tidelog.protocol.schema import Data, int16, int32


class ControlRecordTypeSchema(Data, versions="0"):
    """Key of a control record."""

    type: int = int16()


class EndTxnMarker(Data, versions="0"):
    """Value of an abort or commit marker."""

    coordinator_epoch: int = int32()
