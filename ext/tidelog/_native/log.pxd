# LogCore: the hot part of one partition's log: ordered segments, offsets, producer state. Loop thread only.
# storage/log.py (PartitionLog) owns it and does what touches directories: open, recover, roll, retention, delete, checkpoints.
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t
from tidelog._native.batch cimport BatchInfo, CheckFailure, CheckLimits
from tidelog._native.producer_state cimport ProducerStates
from tidelog._native.segment cimport Segment

cdef enum AppendStatus:
    APPENDED = 0
    REFUSED = 1          # result.error_code says why; nothing was written
    DUPLICATE = 2        # acknowledged already: result holds the original offsets
    NEEDS_ROLL = 3       # nothing was done: let owner.roll() run on a helper thread, then run the request again
    NEEDS_RECOMPRESS = 4 # nothing was done: record.recompress builds another batch, then append_built()

cdef struct AppendResult:
    int16_t error_code
    int64_t base_offset          # -1 on error
    int64_t last_offset
    int64_t log_append_time      # -1 with CreateTime
    int64_t log_start_offset
    CheckFailure failure

cdef struct ReadResult:
    int16_t error_code           # 0, OFFSET_OUT_OF_RANGE (1), KAFKA_STORAGE_ERROR (56), CORRUPT_MESSAGE(2)
    int64_t position             # in the segment's file
    int64_t size                 # 0: nothing to read
    int64_t start_offset         # base offset of the first batch in the region

cdef class LogCore:
    # configuration of the topic, replaced as a whole by set_config()
    cdef CheckLimits limits
    cdef readonly int64_t segment_bytes
    cdef readonly int64_t segment_ms
    cdef readonly int64_t roll_jitter_ms
    cdef readonly int64_t flush_messages          # flush.messages
    # state
    cdef readonly object owner                    # storage.log.PartitionLog
    cdef list segments                            # Segment, ascending base_offset; the last is active; empty until the first roll()
    cdef Segment active                           # None: files not made yet (NEEDS_ROLL on the first append)
    cdef readonly ProducerStates producers
    cdef readonly int64_t log_start_offset
    cdef readonly int64_t log_end_offset
    cdef readonly int64_t recovery_point          # flushed up to here
    cdef readonly int64_t flushed_offset          # == recovery_point for the flush gate
    cdef readonly int32_t leader_epoch            # latest epoch in the leader-epoch cache
    cdef readonly int16_t offline_error           # 0, or KAFKA_STORAGE_ERROR: fenced after a disk error
    cdef readonly bint rolling                    # a helper is making the next segment

    # Leader's path for one client batch, checked, stamped and written in place (the buffer is modified). leader_epoch of the partition's leader.
    cdef AppendStatus append_produce(self, uint8_t* data, int64_t n, int32_t leader_epoch, int16_t api_version, int64_t now_ms,
                                     AppendResult* result) except *
    # A batch built by ourselves (internal topics, recompressed batches, control batches): offsets assigned, producer state kept, no client checks but max size.
    cdef AppendStatus append_built(self, uint8_t* data, int64_t n, int32_t leader_epoch, int64_t now_ms, AppendResult* result) except *
    # Bytes fetched from a leader: offsets and epochs stay (replication issue; recovery tests use it already).
    cdef AppendStatus append_as_follower(self, const uint8_t* data, int64_t n, int64_t now_ms, AppendResult* result) except *
    # Region from the batch that contains `offset`, at most max_bytes (whole first batch if min_one_batch), ending at or before `upper_offset` (exclusive: high
    # watermark, last stable offset, or log_end_offset for followers), never crossing a segment. *segment gets a new reference through the return value (None when size 0).
    cdef Segment read(self, int64_t offset, int64_t max_bytes, int64_t upper_offset, bint min_one_batch, ReadResult* result)
    # Bytes between offset and upper_offset (an estimate over whole segments, exact within one), for min_bytes.
    cdef int64_t available_bytes(self, int64_t offset, int64_t upper_offset) noexcept
    cdef bint must_roll(self, int64_t batch_size, int64_t max_timestamp, int64_t last_offset, int64_t now_ms) noexcept
    cdef Segment segment_of(self, int64_t offset)
