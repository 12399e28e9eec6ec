"""The ACL vocabulary: numbers of KIP-140, every resource with operations."""

from __future__ import annotations

from tidelog.handlers.authorization import SUPPORTED_OPERATIONS, Operation, Resource


def test_numbers() -> None:
    assert (Operation.READ, Operation.CLUSTER_ACTION, Operation.IDEMPOTENT_WRITE) == (3, 9, 12)
    assert (Resource.TOPIC, Resource.GROUP, Resource.CLUSTER) == (2, 3, 4)
    for operations in SUPPORTED_OPERATIONS.values():
        assert len(set(operations)) == len(operations)
        assert Operation.DESCRIBE in operations
