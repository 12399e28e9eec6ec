"""The hot part of one partition's log (see log.pxd for the contract).

Runs on the loop thread. It writes to and reads headers from files that others opened, and never
opens, renames, syncs or deletes one. An answer other than APPENDED means that nothing was changed,
so that a request can be run again after a roll.
"""

cimport cython
from libc.stdint cimport INT32_MAX, INT64_MAX, int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport (
    ATTR_CONTROL,
    ATTR_LOG_APPEND_TIME,
    BATCH_OVERHEAD,
    CHECK_RECOMPRESS,
    ERROR_CORRUPT_MESSAGE,
    ERROR_MESSAGE_TOO_LARGE,
    BatchInfo,
    check_produce_batch,
    crc_ok,
    parse_header,
    stamp_checked,
)
from tidelog._native.producer_state cimport SEQUENCE_DUPLICATE, BatchMetadata, ProducerStates
from tidelog._native.segment cimport Segment
from tidelog._native.segments cimport ReadResult, bytes_between, find_region, last_slot

from tidelog.errors import NO_ROOM, InvariantError

cdef enum:
    ERROR_OFFSET_OUT_OF_RANGE = 1
    ERROR_RECORD_LIST_TOO_LARGE = 18
    ERROR_KAFKA_STORAGE_ERROR = 56

cdef CheckFailure NO_FAILURE = CheckFailure(0, 0, -1)

STATUS_APPENDED = APPENDED
STATUS_REFUSED = REFUSED
STATUS_DUPLICATE = DUPLICATE
STATUS_NEEDS_ROLL = NEEDS_ROLL
STATUS_NEEDS_RECOMPRESS = NEEDS_RECOMPRESS


@cython.final
cdef class LogCore:
    """Segments, offsets and producer state of one log. `owner` is told of epochs and disk errors:

    owner.on_epoch(epoch, start_offset), owner.on_disk_error(error): fenced,
    owner.on_append_refused(error): no room, and nothing of the append is left,
    owner.on_aborted_transaction(producer_id, first_offset, marker_offset), and
    Tests may have none.
    """

    def __init__(self, ProducerStates producers not None, owner=None):
        self.producers = producers
        self.owner = owner
        self.segments = []
        self.leader_epoch = -1
        self.configure()

    def configure(
        self,
        *,
        int64_t max_message_bytes=INT32_MAX,
        int64_t timestamp_before_max_ms=INT64_MAX,
        int64_t timestamp_after_max_ms=INT64_MAX,
        bint log_append_time=False,
        bint compacted=False,
        int target_codec=-1,
        int64_t segment_bytes=INT32_MAX,
        int64_t segment_ms=INT64_MAX,
        int64_t flush_messages=INT64_MAX,
    ):
        """Replaces the topic's configuration as a whole."""
        self.limits.max_message_bytes = max_message_bytes
        self.limits.timestamp_before_max_ms = timestamp_before_max_ms
        self.limits.timestamp_after_max_ms = timestamp_after_max_ms
        self.limits.log_append_time = log_append_time
        self.limits.compacted = compacted
        self.limits.target_codec = target_codec
        self.segment_bytes = min(segment_bytes, INT32_MAX)
        self.segment_ms = segment_ms
        self.flush_messages = flush_messages

    # ---- appends

    cdef AppendStatus refuse(self, AppendResult *result, int error_code) noexcept:
        result.error_code = error_code
        self.answer(result, -1, -1, -1, 0)
        return REFUSED

    cdef void answer(
        self,
        AppendResult *result,
        int64_t base_offset,
        int64_t last_offset,
        int64_t log_append_time,
        int64_t consumed_bytes,
    ) noexcept:
        result.base_offset = base_offset
        result.last_offset = last_offset
        result.log_append_time = log_append_time
        result.log_start_offset = self.log_start_offset
        result.consumed_bytes = consumed_bytes

    cdef AppendStatus append_produce(
        self,
        uint8_t *data,
        int64_t n,
        int32_t leader_epoch,
        int16_t api_version,
        int64_t now_ms,
        AppendResult *result,
    ) except *:
        cdef BatchInfo info
        cdef int code
        result.failure = NO_FAILURE
        if self.offline_error:
            return self.refuse(result, self.offline_error)
        code = check_produce_batch(
            data, <size_t>n, api_version, now_ms, &self.limits, &info, &result.failure
        )
        if code != 0:
            if code == CHECK_RECOMPRESS:
                return NEEDS_RECOMPRESS
            return self.refuse(result, code)
        return self.append_checked(data, &info, leader_epoch, now_ms, True, result)

    cdef AppendStatus append_built(
        self,
        uint8_t *data,
        int64_t n,
        int32_t leader_epoch,
        int64_t now_ms,
        AppendResult *result,
    ) except *:
        cdef BatchInfo info
        cdef bint control
        result.failure = NO_FAILURE
        if self.offline_error:
            return self.refuse(result, self.offline_error)
        if parse_header(data, <size_t>n, &info) != 0 or info.size != n or info.records_count < 1:
            raise InvariantError("append_built was given something else than one whole batch")
        if info.last_offset_delta < 0:
            raise InvariantError("append_built was given a batch without offsets")
        control = (info.attributes & ATTR_CONTROL) != 0
        if n > self.limits.max_message_bytes and not control:
            return self.refuse(result, ERROR_MESSAGE_TOO_LARGE)
        if self.limits.log_append_time and not control:
            if info.max_timestamp != now_ms or not info.attributes & ATTR_LOG_APPEND_TIME:
                info.restamp = True
                info.max_timestamp = now_ms
                info.attributes |= ATTR_LOG_APPEND_TIME
        return self.append_checked(data, &info, leader_epoch, now_ms, False, result)

    cdef AppendStatus append_checked(
        self,
        uint8_t *data,
        const BatchInfo *info,
        int32_t leader_epoch,
        int64_t now_ms,
        bint from_client,
        AppendResult *result,
    ) except *:
        cdef BatchMetadata duplicate
        cdef int code
        cdef int64_t base_offset = self.log_end_offset
        cdef int64_t last_offset = base_offset + info.last_offset_delta
        if info.size > self.segment_bytes:
            return self.refuse(result, ERROR_RECORD_LIST_TOO_LARGE)
        if info.producer_id >= 0 and not info.attributes & ATTR_CONTROL:
            if from_client or info.base_sequence >= 0:
                code = self.producers.check(info, &duplicate)
            else:
                code = self.producers.check_epoch(info)
            if code == SEQUENCE_DUPLICATE:
                result.error_code = 0
                self.answer(
                    result, duplicate.last_offset - duplicate.offset_delta, duplicate.last_offset,
                    duplicate.timestamp, info.size,
                )
                return DUPLICATE
            if code < 0:
                return self.refuse(result, -code)
        if self.must_roll(info.size, info.max_timestamp, last_offset, now_ms):
            self.roll_wanted = True
            self.producers.note_refused(info)
            return NEEDS_ROLL
        stamp_checked(data, info, base_offset, leader_epoch)
        try:
            self.active.append(
                data, info.size, last_offset, info.max_timestamp, last_offset, now_ms
            )
        except OSError as error:
            self.producers.note_refused(info)
            return self.fail_append(error, result)
        if self.written is not None:
            self.written.put(self.active.size)
        self.log_end_offset = last_offset + 1
        self.update_producers(data, info, base_offset)
        if leader_epoch > self.leader_epoch:
            self.leader_epoch = leader_epoch
            if self.owner is not None:
                self.owner.on_epoch(leader_epoch, base_offset)
        result.error_code = 0
        self.answer(
            result, base_offset, last_offset,
            info.max_timestamp if self.limits.log_append_time else -1, info.size,
        )
        return APPENDED

    cdef int update_producers(
        self, const uint8_t *data, const BatchInfo *info, int64_t base_offset
    ) except -1:
        cdef int64_t first_offset
        cdef bint aborted = False
        if info.attributes & ATTR_CONTROL:
            first_offset = self.producers.update_batch(
                data, info, base_offset, info.max_timestamp, &aborted
            )
            if first_offset >= 0 and aborted and self.owner is not None:
                self.owner.on_aborted_transaction(info.producer_id, first_offset, base_offset)
        elif info.producer_id >= 0:
            self.producers.update(info, base_offset, info.max_timestamp)
        else:
            self.producers.map_end_offset = base_offset + info.last_offset_delta + 1
        return 0

    cdef AppendStatus append_as_follower(
        self, const uint8_t *data, int64_t n, int64_t now_ms, AppendResult *result
    ) except *:
        cdef BatchInfo info
        cdef int64_t consumed = 0
        cdef int64_t batches = 0
        cdef int64_t next_offset = self.log_end_offset
        cdef int64_t first_offset = -1
        cdef int64_t size
        cdef int64_t end
        if self.offline_error:
            return self.refuse(result, self.offline_error)
        # First pass: how many whole batches are good and fit into the active segment.
        while n - consumed >= BATCH_OVERHEAD:
            if parse_header(data + consumed, <size_t>(n - consumed), &info) != 0:
                return self.refuse(result, ERROR_CORRUPT_MESSAGE)
            if info.size > n - consumed:
                break
            if info.last_offset_delta < 0 or not crc_ok(data + consumed, &info):
                return self.refuse(result, ERROR_CORRUPT_MESSAGE)
            if info.base_offset < next_offset:
                return self.refuse(result, ERROR_OFFSET_OUT_OF_RANGE)
            end = info.base_offset + info.last_offset_delta
            if batches == 0:
                if self.must_roll(info.size, info.max_timestamp, end, now_ms):
                    self.roll_wanted = True
                    return NEEDS_ROLL
                first_offset = info.base_offset
            elif (
                self.active.size + consumed + info.size > self.segment_bytes
                or end - self.active.base_offset > INT32_MAX
            ):
                break
            consumed += info.size
            batches += 1
            next_offset = end + 1
        result.error_code = 0
        if batches == 0:
            self.answer(result, -1, -1, -1, 0)
            return APPENDED
        try:
            self.active.reserve_index(batches)
            self.active.write(data, consumed)
        except OSError as error:
            return self.fail_append(error, result)
        self.active.last_modified_ms = now_ms
        size = 0
        while size < consumed:
            parse_header(data + size, <size_t>(consumed - size), &info)
            end = info.base_offset + info.last_offset_delta
            self.active.note_batch(info.base_offset, info.size, end, info.max_timestamp, end)
            self.log_end_offset = end + 1
            self.update_producers(data + size, &info, info.base_offset)
            if info.partition_leader_epoch > self.leader_epoch:
                self.leader_epoch = info.partition_leader_epoch
                if self.owner is not None:
                    self.owner.on_epoch(info.partition_leader_epoch, info.base_offset)
            size += info.size
        if self.written is not None:
            self.written.put(self.active.size)
        self.answer(result, first_offset, self.log_end_offset - 1, -1, consumed)
        return APPENDED

    cdef bint must_roll(
        self, int64_t batch_size, int64_t max_timestamp, int64_t last_offset, int64_t now_ms
    ) noexcept:
        cdef Segment active = self.active
        cdef int64_t waited
        if active is None or self.rolling or active.sealed:
            return True
        if last_offset - active.base_offset > INT32_MAX:
            return True
        if active.size == 0:
            return False
        if active.size > self.segment_bytes - batch_size:
            return True
        if active.rolling_based_timestamp >= 0:
            waited = max_timestamp - active.rolling_based_timestamp
        else:
            waited = now_ms - active.created_ms
        if waited > self.segment_ms - self.roll_jitter_ms:
            return True
        return active.offset_index.is_full() or active.time_index.is_full()

    cdef bint flush_due(self) noexcept:
        return self.log_end_offset - self.flushed_offset >= self.flush_messages

    cdef void note_segment(self) noexcept:
        if self.written is not None:
            if self.active is None:
                self.written.forget()
            else:
                self.written.begin(self.active.base_offset, self.active.size)

    cdef void forget_written(self) noexcept:
        if self.written is not None:
            self.written.forget()

    cdef AppendStatus fail_append(self, object error, AppendResult *result) except *:
        # Without room or descriptors nothing is wrong with what stands in the log already, as long
        # as the torn append could be cut off again; anything else may have cost pages.
        if error.errno in NO_ROOM and not self.active.torn:
            if self.owner is not None:
                self.owner.on_append_refused(error)
        else:
            self.fence_for(error)
        return self.refuse(result, ERROR_KAFKA_STORAGE_ERROR)

    cdef int fence_for(self, object error) except -1:
        self.offline_error = ERROR_KAFKA_STORAGE_ERROR
        self.forget_written()
        if self.owner is not None:
            self.owner.on_disk_error(error)
        return 0

    # ---- reads

    cdef Py_ssize_t slot_of(self, int64_t offset) noexcept:
        return last_slot(self.segments, offset)

    cdef Segment segment_of(self, int64_t offset):
        cdef Py_ssize_t slot = last_slot(self.segments, offset)
        return None if slot < 0 else <Segment>self.segments[slot]

    cdef Segment read(
        self,
        int64_t offset,
        int64_t max_bytes,
        int64_t upper_offset,
        bint min_one_batch,
        ReadResult *result,
    ):
        result.error_code = self.offline_error
        result.position = 0
        result.size = 0
        result.start_offset = -1
        if self.offline_error:
            return None
        if offset < self.log_start_offset or offset > self.log_end_offset:
            result.error_code = ERROR_OFFSET_OUT_OF_RANGE
            return None
        if upper_offset > self.log_end_offset:
            upper_offset = self.log_end_offset
        if offset >= upper_offset:
            return None
        return find_region(self.segments, offset, max_bytes, upper_offset, min_one_batch, result)

    cdef int64_t available_bytes(self, int64_t offset, int64_t upper_offset) noexcept:
        if offset < self.log_start_offset:
            offset = self.log_start_offset
        if upper_offset > self.log_end_offset:
            upper_offset = self.log_end_offset
        if offset >= upper_offset:
            return 0
        return bytes_between(self.segments, offset, upper_offset)

    # ---- for storage.log (loop thread)

    def keep_written(self, WrittenSlot slot not None):
        """Every append leaves its position there from now on. To be set before install()."""
        slot.forget()
        self.written = slot

    def install(
        self,
        list segments not None,
        *,
        int64_t log_start_offset,
        int64_t log_end_offset,
        int64_t recovery_point,
        int32_t leader_epoch=-1,
        int64_t roll_jitter_ms=0,
        ProducerStates producers=None,
    ):
        """Takes over what a loader or a truncation found; the last segment becomes active."""
        cdef Segment segment
        cdef int64_t least = -1
        for segment in segments:
            if segment.base_offset <= least:
                raise InvariantError("segments out of order")
            least = segment.base_offset
        if not log_start_offset <= log_end_offset or least > log_end_offset:
            raise InvariantError(f"log start {log_start_offset}, end {log_end_offset}, {least}")
        if producers is not None:
            self.producers = producers
        self.segments = list(segments)
        self.active = <Segment>segments[len(segments) - 1] if segments else None
        self.log_start_offset = log_start_offset
        self.log_end_offset = log_end_offset
        self.recovery_point = min(recovery_point, log_end_offset)
        self.flushed_offset = self.recovery_point
        self.leader_epoch = leader_epoch
        self.roll_jitter_ms = roll_jitter_ms
        self.producers.map_end_offset = log_end_offset
        self.rolling = False
        self.roll_wanted = False
        self.note_segment()

    def retire(self):
        """Ends the use of the log: lets go of the segments and refuses everything from now on."""
        self.offline_error = ERROR_KAFKA_STORAGE_ERROR
        self.segments = []
        self.active = None
        self.written = None

    def begin_roll(self):
        """Stops appends until install_segment() or end_roll(). Returns the new base offset."""
        if self.rolling:
            raise InvariantError("the log is being changed already")
        self.rolling = True
        return self.log_end_offset

    def end_roll(self):
        """The helper failed or has nothing to install: appends go on."""
        self.rolling = False
        self.roll_wanted = False

    def install_segment(self, Segment segment not None, int64_t roll_jitter_ms=0):
        """The next active segment; the old one is sealed. Returns the old one, or None."""
        cdef Segment old = self.active
        if segment.base_offset != self.log_end_offset or segment.size:
            raise InvariantError(f"{segment!r} cannot follow offset {self.log_end_offset - 1}")
        if old is not None and old.base_offset == segment.base_offset:
            if old.size:
                raise InvariantError(f"{segment!r} would replace {old!r}")
            self.segments.pop()
        if old is not None:
            old.seal()
        self.segments.append(segment)
        self.active = segment
        self.note_segment()
        self.roll_jitter_ms = roll_jitter_ms
        self.rolling = False
        self.roll_wanted = False
        return old

    def remove_first_segments(self, Py_ssize_t count):
        """Takes the oldest segments out of the log and returns them; never the active one."""
        if count < 0 or count >= max(len(self.segments), 1):
            raise InvariantError(f"cannot remove {count} of {len(self.segments)} segments")
        removed = self.segments[:count]
        self.segments = self.segments[count:]
        return removed

    def increment_log_start_offset(self, int64_t offset):
        """Moves the log start forward. Returns whether it moved."""
        if offset > self.log_end_offset:
            raise InvariantError(f"log start {offset} behind the end {self.log_end_offset}")
        if offset <= self.log_start_offset:
            return False
        self.log_start_offset = offset
        return True

    def limit_end(self, int64_t offset):
        """First step of a truncation: readers no longer see `offset` and what follows."""
        if offset < self.log_end_offset:
            self.forget_written()
            self.log_end_offset = offset
            self.recovery_point = min(self.recovery_point, offset)
            self.flushed_offset = self.recovery_point

    def on_flushed(self, int64_t offset):
        """Everything below `offset` is on the disk."""
        if offset > self.log_end_offset:
            offset = self.log_end_offset
        if offset > self.recovery_point:
            self.recovery_point = offset
            self.flushed_offset = offset

    def set_leader_epoch(self, int32_t epoch):
        """The latest epoch of the leader-epoch cache."""
        self.leader_epoch = epoch

    def fence(self):
        """No further append or read: answers KAFKA_STORAGE_ERROR until the log is opened again."""
        self.offline_error = ERROR_KAFKA_STORAGE_ERROR
        self.forget_written()

    def is_flush_due(self):
        return self.flush_due()

    def would_roll(
        self, int64_t batch_size, int64_t max_timestamp, int64_t last_offset, int64_t now_ms
    ):
        """must_roll() for callers in Python."""
        return self.must_roll(batch_size, max_timestamp, last_offset, now_ms)

    @property
    def segment_list(self):
        """The segments, oldest first (a copy)."""
        return list(self.segments)

    @property
    def active_segment(self):
        return self.active

    @property
    def size_bytes(self):
        """Bytes of all segments."""
        cdef Segment segment
        cdef int64_t total = 0
        for segment in self.segments:
            total += segment.size
        return total

    # ---- the same paths for callers in Python (coordinators, tests)

    def produce(self, data, int32_t leader_epoch, int16_t api_version, int64_t now_ms):
        """append_produce() of a writable buffer.

        Returns (status, error_code, base_offset, last_offset, log_append_time, reason,
        record_index).
        """
        cdef uint8_t[::1] view = data
        cdef AppendResult result
        cdef AppendStatus status
        cdef uint8_t empty
        self.refuse(&result, 0)
        status = self.append_produce(
            &view[0] if view.shape[0] else &empty, view.shape[0], leader_epoch, api_version,
            now_ms, &result,
        )
        return (
            <int>status, result.error_code, result.base_offset, result.last_offset,
            result.log_append_time, result.failure.reason, result.failure.record_index,
        )

    def append_batch(self, data, int32_t leader_epoch, int64_t now_ms):
        """append_built() of a writable buffer.

        Returns (status, error_code, base_offset, last_offset).
        """
        cdef uint8_t[::1] view = data
        cdef AppendResult result
        cdef AppendStatus status
        if view.shape[0] == 0:
            raise InvariantError("append of nothing")
        self.refuse(&result, 0)
        status = self.append_built(&view[0], view.shape[0], leader_epoch, now_ms, &result)
        return <int>status, result.error_code, result.base_offset, result.last_offset

    def append_fetched(self, data, int64_t now_ms):
        """append_as_follower().

        Returns (status, error_code, base_offset, last_offset, consumed_bytes).
        """
        cdef const uint8_t[::1] view = data
        cdef AppendResult result
        cdef AppendStatus status
        cdef uint8_t empty
        self.refuse(&result, 0)
        status = self.append_as_follower(
            &view[0] if view.shape[0] else &empty, view.shape[0], now_ms, &result
        )
        return (
            <int>status, result.error_code, result.base_offset, result.last_offset,
            result.consumed_bytes,
        )

    def read_region(
        self, int64_t offset, int64_t max_bytes, int64_t upper_offset, bint min_one_batch=True
    ):
        """read(). Returns (error_code, segment or None, position, size, start_offset)."""
        cdef ReadResult result
        cdef Segment segment = self.read(offset, max_bytes, upper_offset, min_one_batch, &result)
        return result.error_code, segment, result.position, result.size, result.start_offset

    def bytes_available(self, int64_t offset, int64_t upper_offset):
        """available_bytes() for callers in Python."""
        return self.available_bytes(offset, upper_offset)
