"""LogCore: the hot part of one partition's log: segments, offsets, producer state (contract).

Loop thread only. storage.log.PartitionLog owns it and does what touches directories: opening,
recovery, rolling, flushing, retention, truncation.
"""

cimport cython
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport BatchInfo, CheckFailure, CheckLimits
from tidelog._native.producer_state cimport ProducerStates
from tidelog._native.segment cimport Segment
from tidelog._native.segments cimport ReadResult
from tidelog._native.written cimport WrittenSlot

cdef enum AppendStatus:
    APPENDED = 0
    REFUSED = 1  # result.error_code says why; nothing was written
    DUPLICATE = 2  # acknowledged already: result holds the original offsets
    NEEDS_ROLL = 3  # nothing was done: await owner.roll(), then run the request again
    NEEDS_RECOMPRESS = 4  # nothing was done: record.recompress builds another batch: append_built()

cdef struct AppendResult:
    int16_t error_code
    int64_t base_offset  # -1 on error
    int64_t last_offset
    int64_t log_append_time  # -1 with CreateTime
    int64_t log_start_offset
    int64_t consumed_bytes  # appended of what was given (append_as_follower may stop at a roll)
    CheckFailure failure

@cython.final
cdef class LogCore:
    # configuration of the topic, replaced as a whole by configure()
    cdef CheckLimits limits
    cdef readonly int64_t segment_bytes
    cdef readonly int64_t segment_ms
    cdef readonly int64_t roll_jitter_ms  # of the active segment
    cdef readonly int64_t flush_messages
    # state
    cdef public object owner  # storage.log.PartitionLog
    cdef list segments  # Segment, ascending base_offset; the last is active; empty: none made yet
    cdef Segment active  # None: no file made yet (NEEDS_ROLL on the first append)
    cdef readonly ProducerStates producers
    cdef readonly int64_t log_start_offset
    cdef readonly int64_t log_end_offset
    cdef readonly int64_t recovery_point  # flushed up to here
    cdef readonly int64_t flushed_offset  # the same, for the flush gate of the lanes
    cdef readonly int32_t leader_epoch  # latest epoch in the leader-epoch cache, -1 when none
    cdef readonly int16_t offline_error  # 0, or KAFKA_STORAGE_ERROR: fenced after a disk error
    cdef readonly bint rolling  # a helper changes the files: appends answer NEEDS_ROLL
    cdef WrittenSlot written  # or None
    cdef readonly bint roll_wanted  # an append was told NEEDS_ROLL since the last roll

    # Leader's path for one client batch: checked, stamped and written in place (the buffer is
    # modified). Appends the batch's own size, which may be less than n (see check_produce_batch).
    cdef AppendStatus append_produce(self, uint8_t *data, int64_t n, int32_t leader_epoch,
                                     int16_t api_version, int64_t now_ms,
                                     AppendResult *result) except *
    # One batch built by ourselves (internal topics, recompressed batches, control batches):
    # offsets assigned, no client checks but sizes. A batch with a sequence has it checked (it came
    # from a client), one with only a producer id has its epoch checked, a control batch nothing.
    cdef AppendStatus append_built(self, uint8_t *data, int64_t n, int32_t leader_epoch,
                                   int64_t now_ms, AppendResult *result) except *
    # Batches fetched from a leader: offsets and epochs stay. Appends as many whole batches as fit
    # into the active segment; result.consumed_bytes says how many bytes that were.
    cdef AppendStatus append_as_follower(self, const uint8_t *data, int64_t n, int64_t now_ms,
                                         AppendResult *result) except *
    cdef AppendStatus append_checked(self, uint8_t *data, const BatchInfo *info,
                                     int32_t leader_epoch, int64_t now_ms, bint from_client,
                                     AppendResult *result) except *
    cdef int update_producers(self, const uint8_t *data, const BatchInfo *info,
                              int64_t base_offset) except -1
    # Region from the batch that holds `offset`, at most max_bytes (but the whole first batch if
    # min_one_batch), ending at or before `upper_offset` (exclusive: high watermark, last stable
    # offset, or log_end_offset for followers), never crossing a segment. Returns the segment, None
    # when size is 0.
    cdef Segment read(self, int64_t offset, int64_t max_bytes, int64_t upper_offset,
                      bint min_one_batch, ReadResult *result)
    # Bytes between the two offsets, exact to whole batches; 0 when nothing can be said.
    cdef int64_t available_bytes(self, int64_t offset, int64_t upper_offset) noexcept
    cdef bint must_roll(self, int64_t batch_size, int64_t max_timestamp, int64_t last_offset,
                        int64_t now_ms) noexcept
    # True when an answer for the last append has to wait for a flush (flush.messages).
    cdef bint flush_due(self) noexcept
    # Segment with the largest base_offset <= offset, None when there is none.
    cdef Segment segment_of(self, int64_t offset)
    cdef Py_ssize_t slot_of(self, int64_t offset) noexcept
    cdef void answer(self, AppendResult *result, int64_t base_offset, int64_t last_offset,
                     int64_t log_append_time, int64_t consumed_bytes) noexcept
    cdef AppendStatus refuse(self, AppendResult *result, int error_code) noexcept
    # Another segment is active; nothing of the log may be believed after a kill.
    cdef void note_segment(self) noexcept
    cdef void forget_written(self) noexcept
    cdef AppendStatus fail_append(self, object error, AppendResult *result) except *
    cdef int fence_for(self, object error) except -1
