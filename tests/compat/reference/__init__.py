"""The reference: Apache Kafka 4.3.1, its tools, and what is needed to run them."""

from tests.compat.reference.broker import ReferenceBroker, ReferenceCluster
from tests.compat.reference.install import (
    Installation,
    ReferenceMissing,
    install,
    missing_reason,
)

__all__ = [
    "Installation",
    "ReferenceBroker",
    "ReferenceCluster",
    "ReferenceMissing",
    "install",
    "missing_reason",
]
