"""Who is near to a consumer: replicas in its rack (KIP-392). Pure.

With Kafka's RackAwareReplicaSelector a leader answers the first fetch of a consumer that names its
rack (`client.rack`) with the id of a replica there, and nothing else, unless it is in that rack
itself. Among several the native lane takes the one in sync that has most of the log.
"""

from __future__ import annotations

from tidelog.metadata.image import MetadataImage


def near_racks(image: MetadataImage, node_id: int) -> dict[bytes, frozenset[int]]:
    """The live nodes of each rack, as the node of that id sends consumers to them: its own rack is
    left out.
    """
    own = image.nodes[node_id].rack if node_id in image.nodes else None
    racks: dict[bytes, set[int]] = {}
    for node in image.nodes.values():
        if node.rack and node.rack != own and node.is_live:
            racks.setdefault(node.rack.encode(), set()).add(node.node_id)
    return {rack: frozenset(nodes) for rack, nodes in racks.items()}
