"""Base vocabulary: small named values that every layer shares.

Owned by no process; never imports anything of Tidelog.
"""

from __future__ import annotations

from typing import NewType

NodeId = NewType("NodeId", int)
Offset = NewType("Offset", int)

#: 16 raw bytes, network order (Kafka's Uuid); the wire and the files use it as it is.
TopicId = NewType("TopicId", bytes)

NO_NODE = NodeId(-1)
NO_OFFSET = Offset(-1)
NO_TIMESTAMP = -1
NO_EPOCH = -1
NO_PRODUCER_ID = -1
ZERO_TOPIC_ID = TopicId(bytes(16))

#: Topics that the broker itself writes (Kafka's `Topic.INTERNAL_TOPICS`).
GROUP_METADATA_TOPIC = "__consumer_offsets"
TRANSACTION_STATE_TOPIC = "__transaction_state"
INTERNAL_TOPICS = frozenset({GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC})
