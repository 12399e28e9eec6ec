"""Limits that are ours and not a config of Kafka's: each named once, with its unit and its reason.

Belongs to no task; never imports anything of Tidelog. What a user may set stands in `config/`.
"""

from __future__ import annotations

from typing import Final

# --- processes ---------------------------------------------------------------------------------

#: Workers that `--workers auto` starts at most: one event loop each; beyond that the disk is the
#: limit.
WORKERS_AUTO_MAX: Final = 8

#: Workers of one host in all: each needs a port beside the first one.
WORKERS_MAX: Final = 256

#: One frame of the control channel. A snapshot is cut into frames far below it; a longer length is
#: a bug or garbage.
CONTROL_FRAME_BYTES_MAX: Final = 64 * 1024 * 1024

#: Change records in one snapshot frame (about 100 bytes each).
SNAPSHOT_FRAME_RECORDS: Final = 5_000

#: Bytes not yet taken by a worker before the supervisor stops sending deltas to it; it then gets a
#: snapshot instead.
CONTROL_QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024

#: Requests of one worker to the controller that may wait for their answers; the next one fails at
#: once.
CONTROL_REQUESTS_MAX: Final = 1_024

#: Requests of one node to another that wait for their answers; the next ones queue.
PEER_REQUESTS_MAX: Final = 64

#: Largest answer of another node.
PEER_RESPONSE_BYTES_MAX: Final = 64 * 1024 * 1024

#: Largest message between supervisor and zygote: a spawn order with its settings.
ZYGOTE_MESSAGE_BYTES_MAX: Final = 64 * 1024

#: Descriptors that one spawn order may carry: the control socket and the listening sockets (Linux
#: allows 253).
ZYGOTE_FDS_MAX: Final = 64

#: How long a forked worker may take to say Hello before it is killed and started anew.
WORKER_HELLO_TIMEOUT_MS: Final = 30_000

#: Waits before a worker that died is started again; the last one repeats. The first ones are
#: 0: a death or two cost no wait.
RESTART_BACKOFF_MS: Final = (0, 0, 100, 200, 400, 800, 2_000, 5_000, 10_000)

#: A worker that served this long has proven itself: the next death starts at the first back-off
#: again. Short, because a restart costs little, and every wait is one of its clients.
RESTART_PROVEN_MS: Final = 250

#: A worker that waits longer than this to be started again is fenced, and its listener closed:
#: clients shall go elsewhere instead of waiting in its backlog.
RESTART_FENCED_MS: Final = 1_000

#: Deaths in a row, before it has ever served, after which a worker's start is given up with the
#: whole start of the broker.
START_ATTEMPTS_MAX: Final = 3

#: How long requests in work may take to be answered in a clean stop.
STOP_GRACE_MS: Final = 2_000

#: How long a worker may take for a clean stop in all (its checkpoints included) before it is
#: killed.
STOP_TIMEOUT_MS: Final = 60_000

#: How long a worker waits for the lock of its directory: an orphan of its earlier life is about to
#: stop.
NODE_LOCK_TIMEOUT_MS: Final = 60_000

#: How long a starting worker waits for its logs to be recovered before it serves those that are.
LOGS_OPEN_WAIT_MS: Final = 5_000

#: How long a worker may run on after its control channel has closed, which is an order to stop.
CLOSED_CHANNEL_KILL_MS: Final = 10_000

#: How long the supervisor waits for the exit status of a worker that has died, which comes by
#: another way.
EXIT_STATUS_WAIT_MS: Final = 200

#: How long a helper thread that runs Python may keep the interpreter lock while the loop wants it:
#: at the usual 5 ms, compaction and recompression were seen in the latency of produces.
GIL_SWITCH_US: Final = 500

#: Blocks of memory from this size on are given back to the system when they are freed.
MAPPED_BLOCK_BYTES_MIN: Final = 128 * 1024

# --- metrics -----------------------------------------------------------------------------------

#: Connections to the endpoint of metrics and health at once; the next one is closed.
METRICS_CONNECTIONS_MAX: Final = 32

#: Head of one request to it; a body is not read.
METRICS_REQUEST_BYTES_MAX: Final = 8 * 1024

#: How long one may take to send its request, and to take its answer.
METRICS_REQUEST_TIMEOUT_MS: Final = 5_000
METRICS_ANSWER_TIMEOUT_MS: Final = 10_000

#: How long a worker may take to tell its values before the scrape goes on without it.
METRICS_NODE_TIMEOUT_MS: Final = 2_000

#: Series that one node tells: partitions that it leads, groups that it coordinates, and their
#: committed offsets. The rest is counted in tidelog_metrics_dropped_series.
METRICS_PARTITIONS_MAX: Final = 10_000
METRICS_GROUPS_MAX: Final = 5_000
METRICS_GROUP_OFFSETS_MAX: Final = 20_000

#: Partitions of the whole cluster whose leader is told.
METRICS_CLUSTER_PARTITIONS_MAX: Final = 50_000

#: Samples that a worker puts together before requests have their turn (less than 1 ms).
METRICS_SLICE: Final = 200

# --- controller --------------------------------------------------------------------------------

#: Events that may wait for the controller before new ones are refused.
CONTROLLER_QUEUE_MAX: Final = 4_096

#: Events that are decided together and written in one transaction of the store.
CONTROLLER_BATCH_EVENTS_MAX: Final = 64

#: Partitions that one CreateTopics or CreatePartitions request may make (Kafka: 10,000 records for
#: one operation).
PARTITIONS_PER_REQUEST_MAX: Final = 10_000

#: Replicas of a partition. Goes up when followers exist.
REPLICATION_FACTOR_MAX: Final = 1

#: Producer ids in one block handed to a node (Kafka: 1,000).
PRODUCER_ID_BLOCK_SIZE: Final = 1_000

#: Longest topic name: the folder `topic-partition` has to fit into 255 bytes of file name (Kafka:
#: 249).
TOPIC_NAME_CHARS_MAX: Final = 249

# --- groups ------------------------------------------------------------------------------------

#: Tombstones of offsets and groups in one write, which is one batch of at most max.message.bytes
#: (1 MiB): deleting a group and expiry go on with the next write.
TOMBSTONE_BYTES_PER_WRITE_MAX: Final = 512 * 1024

#: Longest pattern that a consumer may subscribe by, and the memory that re2 may use for one: what
#: would take more is refused.
REGEX_CHARS_MAX: Final = 4_096
REGEX_MEMORY_BYTES_MAX: Final = 1024 * 1024

#: Steps (instructions of the compiled pattern times characters of all topic names) that matching a
#: new pattern may take at worst; one is 1 to 2 ns (ADR 0027).
REGEX_STEPS_MAX: Final = 300_000_000

#: Compiled patterns that are kept, each with the topics that it matches.
REGEXES_COMPILED_MAX: Final = 64

# --- transactions ------------------------------------------------------------------------------

#: Partitions in one WriteTxnMarkers request to another node, unless a single transaction has more
#: of them there.
MARKER_PARTITIONS_PER_REQUEST_MAX: Final = 10_000

#: Waits before markers that were not acknowledged are sent again; the last one repeats. A partition
#: that moves is tried at once.
MARKER_RETRY_MS: Final = (20, 50, 100, 200, 500, 1_000)

# --- storage -----------------------------------------------------------------------------------

#: Logs of one directory whose written positions are kept (64 bytes each, in a sparse file). Those
#: beyond are verified from their recovery points after a kill.
WRITTEN_SLOTS_MAX: Final = 262_144

# --- records -----------------------------------------------------------------------------------

#: How large the records of a compressed batch may be where it has to be opened: this, or so many
#: times the topic's max.message.bytes. Kafka reads a batch as a stream and has no limit. A producer
#: fills a batch to what it would have uncompressed, or to a guess of a few times that: what is
#: beyond is taken for an attack on memory.
DECOMPRESSED_BYTES_MIN: Final = 16 * 1024 * 1024
DECOMPRESSED_TIMES_MAX: Final = 16

#: A stored batch that is larger when opened is not looked into for the exact record of a time: its
#: bounds answer.
SEARCHED_BATCH_BYTES_MAX: Final = 32 * 1024 * 1024

# --- metastore ---------------------------------------------------------------------------------

#: What a rebuilt store adds to the highest leader epoch that a log tells: clients may know of later
#: leaders that left no trace in it (their checkpoint is lost), and ignore what has a lower epoch.
REBUILT_LEADER_EPOCH_STEP: Final = 1_000

#: How long the local store waits for another process's lock on the database before it gives up.
METASTORE_BUSY_TIMEOUT_MS: Final = 2_000

# --- network -----------------------------------------------------------------------------------

#: Connections accepted in one turn of the loop, so that a flood of them does not hold it.
ACCEPTS_PER_TURN: Final = 64

#: A failed accept (out of descriptors) is tried again after this.
ACCEPT_RETRY_MS: Final = 1_000

#: Idle connections are looked for this often at most (and four times per connections.max.idle.ms).
IDLE_CHECK_MS_MAX: Final = 10_000

#: A connection that is quiet for this long keeps no buffer.
IDLE_MEMORY_MS: Final = 5_000

#: Largest request that is no Produce: only that one carries data, the others carry names and
#: numbers, and become many times as large when they are decoded.
OTHER_REQUEST_BYTES_MAX: Final = 16 * 1024 * 1024

#: Elements of arrays in one decoded request (an empty string is a byte on the wire and a hundred in
#: memory). Produce and Fetch, which are not decoded, have the same limit of partitions.
REQUEST_ELEMENTS_MAX: Final = 200_000

#: While a worker holds as much memory as it may: how often it looks for connections that can give
#: some back, what each of them may keep, and how long one may get no further with its request or
#: its answers.
PRESSURE_CHECK_MS: Final = 250
SPARED_BYTES: Final = 32 * 1024
STALLED_MS: Final = 1_000

#: How often a server that stops looks for connections that owe no answer any more.
STOP_CHECK_MS: Final = 5

#: A fetch session that was not used for this long makes room for a new one (Kafka: 2 minutes).
FETCH_SESSION_EVICTION_MS: Final = 120_000

#: Lines in the log about refused or aborted connections, per second; the rest is counted.
CONNECTION_LOG_LINES_PER_SECOND: Final = 10

# --- quotas ------------------------------------------------------------------------------------

#: Clients, or addresses, whose use of a quota is measured at a time; a full table is emptied.
QUOTA_CLIENTS_MAX: Final = 10_000

#: The longest that a client is told to wait: what fits into the answer's field.
THROTTLE_MS_MAX: Final = 2**31 - 1

#: Connections that came too fast and are held for a while before they are closed, of all addresses;
#: those beyond are closed at once.
HELD_CONNECTIONS_MAX: Final = 1_000
