"""Topic configs as rows of facts.

Facts (name, type, default, range, update mode) are those of Apache Kafka 4.3.1. Data only, owned
by no process; see `topic_configs` for what is made of it and where Tidelog differs.
"""

from __future__ import annotations

from tidelog.config.definition import LONG_MAX, ConfigType, Importance, Row, UpdateMode
from tidelog.config.validators import (
    ANY,
    GZIP_LEVEL,
    ThrottledReplicas,
    at_least,
    between,
    list_of,
    one_of,
)

BOOLEAN = ConfigType.BOOLEAN
DOUBLE = ConfigType.DOUBLE
INT = ConfigType.INT
LIST = ConfigType.LIST
LONG = ConfigType.LONG
STRING = ConfigType.STRING
MEDIUM = Importance.MEDIUM
CLUSTER_WIDE = UpdateMode.CLUSTER_WIDE

# One row a config, wrapped by hand: name, type, default, allowed values, importance, update
# mode, and below them what it means.
# fmt: off
ROWS: tuple[Row, ...] = (
    ("cleanup.policy", LIST, "delete", list_of("compact", "delete"), MEDIUM, CLUSTER_WIDE,
     "What happens to old records: removed by age and size (delete), reduced to the newest per"
     " key (compact), or both; empty keeps all."),
    ("compression.gzip.level", INT, -1, GZIP_LEVEL, MEDIUM, CLUSTER_WIDE,
     "Level given to gzip when the broker compresses batches itself; -1 leaves the choice to "
     "the codec."),
    ("compression.lz4.level", INT, 9, between(1, 17), MEDIUM, CLUSTER_WIDE,
     "Level given to lz4 when the broker compresses batches itself."),
    ("compression.type", STRING, "producer",
     one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), MEDIUM, CLUSTER_WIDE,
     "Codec that batches are stored with; producer keeps each batch as it was sent."),
    ("compression.zstd.level", INT, 3, between(-131072, 22), MEDIUM, CLUSTER_WIDE,
     "Level given to zstd when the broker compresses batches itself."),
    ("delete.retention.ms", LONG, 86400000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "How long a deletion marker stays readable in a compacted topic."),
    ("file.delete.delay.ms", LONG, 60000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Time between taking a segment out of the log and unlinking its files."),
    ("flush.messages", LONG, LONG_MAX, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Records after which appended data is forced to the disk; 1 forces it before every "
     "acknowledgement."),
    ("flush.ms", LONG, LONG_MAX, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Longest time that appended data may wait before it is forced to the disk."),
    ("follower.replication.throttled.replicas", LIST, "", ThrottledReplicas(), MEDIUM, CLUSTER_WIDE,
     "Replicas whose fetching as a follower is slowed to the throttled rate, as "
     "partition:broker pairs or *."),
    ("index.interval.bytes", INT, 4096, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Bytes of log between two entries of the offset index."),
    ("internal.segment.bytes", INT, None, ANY, MEDIUM, CLUSTER_WIDE,
     "Segment size below the official minimum, for tests."),
    ("leader.replication.throttled.replicas", LIST, "", ThrottledReplicas(), MEDIUM, CLUSTER_WIDE,
     "Replicas that are slowed to the throttled rate when they serve followers, as "
     "partition:broker pairs or *."),
    ("local.retention.bytes", LONG, -2, at_least(-2), MEDIUM, CLUSTER_WIDE,
     "Bytes kept on local disk when older segments lie in remote storage; -2 follows "
     "retention.bytes."),
    ("local.retention.ms", LONG, -2, at_least(-2), MEDIUM, CLUSTER_WIDE,
     "Time for which segments stay on local disk when they also lie in remote storage; -2 "
     "follows retention.ms."),
    ("max.compaction.lag.ms", LONG, LONG_MAX, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Longest time for which a record may escape compaction."),
    ("max.message.bytes", INT, 1048588, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Largest record batch that is accepted, after compression."),
    ("message.timestamp.after.max.ms", LONG, 3600000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "How far a record's timestamp may lie ahead of the broker's clock."),
    ("message.timestamp.before.max.ms", LONG, LONG_MAX, at_least(0), MEDIUM, CLUSTER_WIDE,
     "How far a record's timestamp may lie behind the broker's clock."),
    ("message.timestamp.type", STRING, "CreateTime",
     one_of("CreateTime", "LogAppendTime"), MEDIUM, CLUSTER_WIDE,
     "Whether a record keeps its producer's time (CreateTime) or gets the broker's on arrival "
     "(LogAppendTime)."),
    ("min.cleanable.dirty.ratio", DOUBLE, 0.5, between(0, 1), MEDIUM, CLUSTER_WIDE,
     "Share of a log that must be uncompacted before the cleaner takes it up."),
    ("min.compaction.lag.ms", LONG, 0, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Time for which a new record is safe from compaction."),
    ("min.insync.replicas", INT, 1, at_least(1), MEDIUM, CLUSTER_WIDE,
     "In-sync replicas needed before a produce with acks=all is accepted."),
    ("preallocate", BOOLEAN, False, ANY, MEDIUM, CLUSTER_WIDE,
     "Whether disk space of a new segment is reserved ahead."),
    ("remote.log.copy.disable", BOOLEAN, False, ANY, MEDIUM, CLUSTER_WIDE,
     "Stops copying segments to remote storage while those that are there stay readable."),
    ("remote.log.delete.on.disable", BOOLEAN, False, ANY, MEDIUM, CLUSTER_WIDE,
     "Whether turning remote storage off for the topic removes what lies there."),
    ("remote.storage.enable", BOOLEAN, False, ANY, MEDIUM, CLUSTER_WIDE,
     "Whether older segments of the topic go to remote storage."),
    ("retention.bytes", LONG, -1, ANY, MEDIUM, CLUSTER_WIDE,
     "Size that a partition may reach before its oldest segments are removed; -1 is no limit."),
    ("retention.ms", LONG, 604800000, at_least(-1), MEDIUM, CLUSTER_WIDE,
     "Age at which closed segments are removed; -1 is no limit."),
    ("segment.bytes", INT, 1073741824, at_least(1048576), MEDIUM, CLUSTER_WIDE,
     "Size at which a log file is closed and the next one started."),
    ("segment.index.bytes", INT, 10485760, at_least(4), MEDIUM, CLUSTER_WIDE,
     "Largest size of an index file; a full index also starts a new segment."),
    ("segment.jitter.ms", LONG, 0, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Random time taken off segment.ms, so that partitions do not all roll at once."),
    ("segment.ms", LONG, 604800000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Age at which a segment is closed although it is not full."),
    ("unclean.leader.election.enable", BOOLEAN, False, ANY, MEDIUM, CLUSTER_WIDE,
     "Whether a replica that may lack records can become leader when no complete one is left."),
)
# fmt: on
