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

#: Changes of ISRs that a leader sends in one request to the controller.
ISR_CHANGES_PER_REQUEST: Final = 10_000

#: How long a leader waits for the controller's answer to them, and then before it asks again.
ISR_CHANGE_TIMEOUT_MS: Final = 10_000

#: The same of a node that says which of its replicas are offline, and how long its start waits for
#: that to be known.
OFFLINE_REPORT_TIMEOUT_MS: Final = 10_000
OFFLINE_REPORT_RETRY_MS: Final = 500
OFFLINE_REPORT_WAIT_MS: Final = 5_000
ISR_CHANGE_RETRY_MS: Final = 50

#: What is read and written at a time of a log that moves to another log directory.
MOVED_PIECE_BYTES: Final = 1024 * 1024

#: Lists of throttled replicas (`*.replication.throttled.replicas`) that are kept parsed.
THROTTLED_LISTS_KEPT: Final = 64

#: How long a node that stops waits until others lead what it led, and how often it asks.
HAND_OVER_TIMEOUT_MS: Final = 5_000
HAND_OVER_RETRY_MS: Final = 100

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

#: How long a host that stops waits until the others know that its nodes are gone.
TAKE_LEAVE_TIMEOUT_MS: Final = 2_000

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

# --- samples of where a worker's time goes -------------------------------------------------------

#: How long one run may take, and how often a second the threads may be interrupted in it.
SAMPLING_MS_MAX: Final = 60_000
SAMPLING_RATE_HZ_MAX: Final = 2_000

#: Memory for the samples of a run: a minute at 2 kHz with 17 callers each. Beyond that they are
#: counted as lost.
SAMPLING_ARENA_BYTES: Final = 16 * 1024 * 1024

#: Rows of the unwind tables of all modules, of 16 bytes each; a worker has about 350,000.
SAMPLING_UNWIND_ROWS_MAX: Final = 2_000_000

#: Different stacks that are told; further ones are counted.
SAMPLING_STACKS_MAX: Final = 20_000

#: Connections to a worker's socket for samples, what an order may have, how long it may take to
#: come, and how long its answer may take to leave.
SAMPLING_CONNECTIONS_MAX: Final = 4
SAMPLING_ORDER_BYTES_MAX: Final = 1024
SAMPLING_ORDER_TIMEOUT_MS: Final = 5_000
SAMPLING_ANSWER_TIMEOUT_MS: Final = 10_000

#: Largest answer that whoever asks for samples takes.
SAMPLING_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024

#: A module whose symbols are more than this is not read for names.
SAMPLING_SYMBOL_BYTES_MAX: Final = 256 * 1024 * 1024

# --- several hosts -----------------------------------------------------------------------------

#: A frame of somebody who has not shown yet that it belongs to the cluster.
HOST_GREETING_BYTES_MAX: Final = 4 * 1024

#: How long it may take to show that, and how many may be about to.
HOST_GREETING_TIMEOUT_MS: Final = 5_000
HOST_LINKS_UNKNOWN_MAX: Final = 64

#: How long a host may take to connect to the controller, and how long it then waits before it tries
#: again.
HOST_CONNECT_TIMEOUT_MS: Final = 2_000
HOST_RECONNECT_MS: Final = 100

#: How often a host says that it is alive, and how often silence is looked for. What a silence may
#: last is broker.session.timeout.ms.
HOST_ALIVE_INTERVAL_MS: Final = 500
HOST_SESSION_CHECK_MS: Final = 100

#: How often a host asks who is the controller when nothing says that it changed.
HOST_LOOK_INTERVAL_MS: Final = 1_000

#: How long the controller waits before it decides about a lost host once more, when that could not
#: be stored.
HOST_LOST_RETRY_MS: Final = 500

#: How long most hosts may be silent although they have a session, before the controller gives its
#: seat to one of them. Sessions of hosts that are gone end meanwhile.
HOST_CUT_OFF_MS: Final = 1_000

#: How long a request waits for a controller.
HOST_REQUEST_WAIT_MS: Final = 10_000

#: Deltas that the controller keeps for hosts that come back, in bytes.
HOST_HISTORY_BYTES_MAX: Final = 16 * 1024 * 1024

#: Connections of other hosts that the system may hold until they are accepted.
HOST_BACKLOG: Final = 64

#: How long the first connection to the coordination service may take.
ENSEMBLE_CONNECT_TIMEOUT_MS: Final = 15_000

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
REPLICATION_FACTOR_MAX: Final = 16

#: Leaderships that one decision gives back to their first replicas (Kafka: 1,000); the rest follows
#: at once.
LEADERS_REBALANCED_MAX: Final = 1_000

#: Producer ids in one block handed to a node (Kafka: 1,000).
PRODUCER_ID_BLOCK_SIZE: Final = 1_000

#: Longest topic name: the folder `topic-partition` has to fit into 255 bytes of file name (Kafka:
#: 249).
TOPIC_NAME_CHARS_MAX: Final = 249

# --- replication -------------------------------------------------------------------------------

#: What an answer to a follower may hold beside the records: 160 bytes for each of 200,000
#: partitions. With it and replica.fetch.response.max.bytes goes one batch, which may be larger than
#: that alone: whatever fitted into a produce request (socket.request.max.bytes).
REPLICA_FETCH_HEADER_BYTES_MAX: Final = 32 * 1024 * 1024

#: Waits before a follower connects anew to a leader that it could not reach, or that ended the
#: connection before it had answered; the last one repeats.
REPLICA_RECONNECT_MS: Final = (20, 50, 100, 200, 500, 1_000)

#: The first wait of a follower whose leader refuses it; each one is twice as long as the one
#: before, up to replica.fetch.backoff.ms. From so many on it is told why.
REPLICA_WAIT_FIRST_MS: Final = 10
REPLICA_WAITS_QUIET: Final = 5

#: How long a follower beyond its quota waits for what is under way before it asks for less.
THROTTLE_DRAIN_MS: Final = 20

#: How long a connection to a leader may take to be made. Two packets of the first kind are sent in
#: that time (0 and 1 s); a new attempt sends one earlier than the third would be (3 s).
REPLICA_CONNECT_TIMEOUT_MS: Final = 2_000

#: How much later than replica.fetch.wait.max.ms an answer may begin, or go on, before a follower
#: takes its connection for dead; twice as long after each time in a row, at most
#: replica.socket.timeout.ms. What was cut and is whole again sends TCP's next packet only when the
#: pause since the last has doubled, a new connection at once.
REPLICA_SILENCE_MS: Final = 1_500

# --- groups ------------------------------------------------------------------------------------

#: Tombstones of offsets and groups in one write, which is one batch of at most max.message.bytes
#: (1 MiB): deleting a group and expiry go on with the next write.
TOMBSTONE_BYTES_PER_WRITE_MAX: Final = 512 * 1024

#: Memory that one member of a group may take with what it says about itself (a group's record holds
#: that of all members for one protocol, and fits into 1 MiB unless `__consumer_offsets` was given a
#: larger max.message.bytes), and all members of one group together.
GROUP_MEMBER_BYTES_MAX: Final = 4 * 1024 * 1024
GROUP_BYTES_MAX: Final = 16 * 1024 * 1024

#: The same for all groups that a node coordinates. Groups larger than GROUP_SMALL_BYTES fill half
#: of it at most, so that a few of them do not take the room of the many. Members that are known
#: already have some room beyond it: what they say changes with what they are assigned.
GROUPS_BYTES_MAX: Final = 64 * 1024 * 1024
GROUP_SMALL_BYTES: Final = 1024 * 1024
GROUPS_RESERVED_BYTES: Final = 8 * 1024 * 1024

#: What a member counts for beside what it says (objects, timer, its waiting request), and so does
#: an id that was handed out and not used yet.
GROUP_MEMBER_OVERHEAD_BYTES: Final = 1024

#: A node at that limit counts anew what its groups hold no more often than this.
GROUPS_RECOUNT_MS: Final = 1_000

#: Lines in the log about members that were refused for their size, per second; the rest is counted.
GROUP_LOG_LINES_PER_SECOND: Final = 5

#: Longest pattern that a consumer may subscribe by, and the memory that re2 may use for one: what
#: would take more is refused.
REGEX_CHARS_MAX: Final = 4_096
REGEX_MEMORY_BYTES_MAX: Final = 1024 * 1024

#: Steps (instructions of the compiled pattern times characters of all topic names, once more for
#: each group that has a name) that matching a new pattern may take at worst; one is 1 to 2 ns
#: (ADR 0027).
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

#: Content of one znode of the metadata. A request to ZooKeeper has at most 1,048,575 bytes as it is
#: delivered (`jute.maxbuffer`), and a commit is one request: this, and less than 1 KiB besides.
METADATA_ZNODE_BYTES_MAX: Final = 900_000

#: Znodes of a transaction or of a snapshot.
METADATA_PARTS_MAX: Final = 10_000

#: A snapshot of the metadata is written after so many transactions, or when they are so large, and
#: as large as the last snapshot: then writing them costs no more than twice what was changed.
METADATA_LOG_TRANSACTIONS_MAX: Final = 1_000
METADATA_LOG_BYTES_MIN: Final = 4 * 1024 * 1024

#: What is read of znodes that describe the cluster, a host, a node or the seat.
ENSEMBLE_ZNODE_BYTES_MAX: Final = 64 * 1024

#: Hosts of one cluster.
ENSEMBLE_HOSTS_MAX: Final = 1_000

#: Requests to ZooKeeper that are outstanding at a time, and what they may carry: the answer to the
#: first one has to come within the session's timeout, after all of them were sent.
ENSEMBLE_REQUESTS_MAX: Final = 64
ENSEMBLE_SENT_BYTES_MAX: Final = 4 * 1024 * 1024

#: How often an operation is begun anew because others changed at the same time what it had read.
ENSEMBLE_RACES_MAX: Final = 100

#: Waits before a host tries again to make itself known after its session was lost; the last one
#: repeats.
ENSEMBLE_RETRY_MS: Final = (100, 200, 500, 1_000, 2_000, 5_000)

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

#: Longest text in any message, as Kafka's generated code has it. A connection is closed over a
#: longer one, read or to be written.
TEXT_BYTES_MAX: Final = 0x7FFF

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

#: Logs that are not here yet and for which a directory was wished (AlterReplicaLogDirs).
WISHED_DIRECTORIES_MAX: Final = 10_000

# --- quotas ------------------------------------------------------------------------------------

#: Clients, or addresses, whose use of a quota is measured at a time; a full table is emptied.
QUOTA_CLIENTS_MAX: Final = 10_000

#: The longest that a client is told to wait: what fits into the answer's field.
THROTTLE_MS_MAX: Final = 2**31 - 1

#: Connections that came too fast and are held for a while before they are closed, of all addresses;
#: those beyond are closed at once.
HELD_CONNECTIONS_MAX: Final = 1_000
