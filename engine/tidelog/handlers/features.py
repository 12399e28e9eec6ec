"""The features that can be finalized in a cluster, with the range of levels that this code serves
(KIP-584).

Pure values, belongs to no task. A feature appears here when the work behind it is done: clients
switch to newer protocols by what they read here (Java's transactions go by transaction.version, for
example).
"""

from __future__ import annotations

from typing import Final

#: Feature name -> (lowest, highest) level.
SUPPORTED_FEATURES: Final[dict[str, tuple[int, int]]] = {}
