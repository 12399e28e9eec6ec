"""The members of other languages: Java with both protocols, franz-go, kafkajs; see
tests/clients/group_member.py for what they tell.
"""

from __future__ import annotations

from tests.clients.group_members import Kind
from tests.compat.programs import franz_go, kafkajs
from tests.compat.reference.install import install

JAVA_ASSIGNORS = ("range", "roundrobin", "sticky", "cooperative-sticky")
GO_ASSIGNORS = JAVA_ASSIGNORS


def java_kind(assignor: str, protocol: str = "classic") -> Kind:
    """Raises ReferenceMissing."""
    command = install().command("GroupMember", heap_mb=96, log_level="ERROR")
    return Kind("java", tuple(command), assignor, protocol)


def go_kind(assignor: str) -> Kind:
    """Raises ProgramMissing."""
    return Kind("franz-go", (*franz_go(), "member"), assignor)


def node_kind() -> Kind:
    """Raises ProgramMissing."""
    return Kind("kafkajs", (*kafkajs(), "member"), "")
