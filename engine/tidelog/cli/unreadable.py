"""Why `tidelog consume` gets nothing: the client library goes on trying and says nothing of a
partition that cannot be served or of a broker that is gone. Runs in the user's shell.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tidelog.cli.cluster import reason

#: How long one question may take, in seconds: an interrupt waits for it.
ASK_TIMEOUT_S: Final = 3.0
#: A partition that is silent for so long without having told its end is not read. The library asks
#: for more every half second.
SILENT_S: Final = 5.0


def trouble(consumer: Consumer, topic: str, unread: Collection[int], silent_s: float) -> str | None:
    """What keeps the topic from being read, None when nothing does. unread: assigned partitions
    that did not tell their end since their last record; silent_s: for how long nothing came.
    """
    try:
        found = consumer.list_topics(topic, ASK_TIMEOUT_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
    except KafkaException as error:
        return f"topic {topic} cannot be read: {reason(error)}"
    for one, partition in sorted(found.partitions.items()):
        if partition.error is not None and one in unread:
            return f"{topic}-{one} cannot be read: {reason(KafkaException(partition.error))}"
    for one in sorted(unread):
        try:
            consumer.get_watermark_offsets(TopicPartition(topic, one), ASK_TIMEOUT_S)
        except KafkaException as error:
            # Without the library's own words, which name its function.
            plain = KafkaException(KafkaError(error.args[0].code()))
            return f"{topic}-{one} cannot be read: {reason(plain)}"
        if silent_s >= SILENT_S:
            return f"{topic}-{one} cannot be read: nothing came of it in {silent_s:.0f} s"
    return None
