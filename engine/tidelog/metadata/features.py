"""The features that can be finalized in a cluster, with the range of levels that this code serves
(KIP-584).

Pure values, belongs to no task. A feature appears here when the work behind it is done: clients
switch to newer protocols by what they read here (Java's transactions go by transaction.version, for
example).
"""

from __future__ import annotations

from typing import Final

#: Which generation of the transaction protocol is spoken (KIP-890): 0 and 1 the first (1: records
#: of `__transaction_state` in their newer version), 2 the second.
TRANSACTION_VERSION: Final = "transaction.version"

#: Feature name -> (lowest, highest) level.
SUPPORTED_FEATURES: Final[dict[str, tuple[int, int]]] = {TRANSACTION_VERSION: (0, 2)}

#: What is finalized when a cluster is made.
FEATURES_OF_NEW_CLUSTERS: Final[tuple[tuple[str, int], ...]] = tuple(
    (name, high) for name, (_, high) in SUPPORTED_FEATURES.items()
)
