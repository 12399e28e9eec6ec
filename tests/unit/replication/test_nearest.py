"""Who is near to a consumer."""

from __future__ import annotations

from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import NodeRecord
from tidelog.replication.nearest import near_racks


def test_other_racks_with_their_live_nodes() -> None:
    nodes = [
        NodeRecord(node_id, 0, rack, (), "h", 1, fenced)
        for node_id, rack, fenced in (
            *((1, "a", False), (2, "a", False), (3, "b", False)),
            *((4, "b", False), (5, "c", True), (6, None, False)),
        )
    ]
    image = MetadataImage.from_records(nodes, 1)
    assert near_racks(image, 1) == {b"b": frozenset((3, 4))}
    assert near_racks(image, 3) == {b"a": frozenset((1, 2))}
    assert near_racks(image, 6) == {b"a": frozenset((1, 2)), b"b": frozenset((3, 4))}
    assert near_racks(image, 9) == near_racks(image, 6)
