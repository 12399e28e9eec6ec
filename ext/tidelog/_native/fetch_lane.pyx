"""Fetch (API key 1), native from frame to file regions.

A request is parsed, joined with its session, and read: a read is only look-ups, its result a file
region per partition. When there is less than `min_bytes` it waits in the partitions'
`fetch_waiters` and reads again when one of them moved, until `max_wait_ms`. The answer is bytes
with regions between them; the transport sends those with sendfile.

Loop thread only.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport malloc

from tidelog._native.fetch_message cimport (
    FETCH_FLEXIBLE_FROM,
    FETCH_SESSIONS_FROM,
    FETCH_TOPIC_IDS_FROM,
    READ_COMMITTED,
    FetchMessage,
    FetchPart,
)
from tidelog._native.fetch_session cimport FetchSessionCache, SessionPartition
from tidelog._native.log cimport LogCore, ReadResult
from tidelog._native.partition cimport GATE_NOT_LEADER, Partition, PartitionTable, TopicEntry
from tidelog._native.request cimport Gates, RequestHeader, wall_ms
from tidelog._native.request_stats cimport STAGE_PARSE, STAGE_READ, STAGE_WAIT, RequestStats
from tidelog._native.response cimport Peer
from tidelog._native.log_file cimport LogFile
from tidelog._native.segment cimport Segment
from tidelog._native.throttling cimport begin_charge, busy_ns, client_of
from tidelog._native.wire cimport wire_put_int8, wire_put_int32, wire_reserve

cdef enum:
    FINAL_EPOCH = -1
    INITIAL_EPOCH = 0
    # Kafka's rule: from this version on a client may be meant when it fetches from a follower.
    FETCH_FROM_FOLLOWERS_FROM = 11
    # Of one answer: its size is an int32, and other fields come with the records.
    ANSWER_BYTES_MAX = 1 << 30

cdef enum:
    ERROR_NONE = 0
    ERROR_OFFSET_OUT_OF_RANGE = 1
    ERROR_UNKNOWN_TOPIC_OR_PARTITION = 3
    ERROR_NOT_LEADER_OR_FOLLOWER = 6
    ERROR_TOPIC_AUTHORIZATION_FAILED = 29
    ERROR_FETCH_SESSION_ID_NOT_FOUND = 70
    ERROR_FENCED_LEADER_EPOCH = 74
    ERROR_UNKNOWN_LEADER_EPOCH = 75
    ERROR_UNKNOWN_TOPIC_ID = 100


cdef enum:
    API_FETCH = 1


cdef class FetchTask(FetchMessage):
    """One Fetch request, from its parsed form to its answer."""

    # -- sessions (KIP-227) -------------------------------------------------------------------

    cdef int enter_session(self, const uint8_t* end, int64_t now_ms) except -1:
        cdef FetchSessionCache cache = self.lane.sessions
        cdef bint by_id = self.api_version >= FETCH_TOPIC_IDS_FROM
        self.full = True
        self.session_id = 0
        if self.request_session_epoch == FINAL_EPOCH or self.request_session_epoch == INITIAL_EPOCH:
            if self.request_session_id != 0:
                cache.forget(self.request_session_id)
            if self.request_session_epoch == INITIAL_EPOCH and self.part_count:
                self.session = cache.create(by_id, self.replica_id >= 0, now_ms)
                if self.session is not None:
                    self.update_session(end)
                    # Duplicates in the request fold into one partition; answer what the session
                    # holds.
                    self.take_session_parts()
                    if cache.keep_count(self.session):
                        self.session_id = self.session.session_id
            return 0
        self.session = cache.resume(
            self.request_session_id, self.request_session_epoch, by_id, now_ms, &self.error_code
        )
        if self.session is None:
            self.drop_parts(0)
            return 0
        self.update_session(end)
        self.forget_topics(self.session, end)
        if len(self.session.partitions) == 0:
            # Nothing left to remember: the client may go on without a session.
            cache.forget(self.request_session_id)
            self.session = None
            self.drop_parts(0)
            return 0
        if not cache.keep_count(self.session):
            # The client begins anew, and is then told to go on without a session.
            self.error_code = ERROR_FETCH_SESSION_ID_NOT_FOUND
            self.session = None
            self.drop_parts(0)
            return 0
        self.session_id = self.request_session_id
        self.full = False
        self.take_session_parts()
        return 0

    cdef int update_session(self, const uint8_t* end) except -1:
        cdef int32_t i
        cdef FetchPart* part
        cdef SessionPartition known
        for i in range(self.part_count):
            part = &self.parts[i]
            known = self.session.put(
                PyBytes_FromStringAndSize(<const char*>part.key, part.key_size), part.index
            )
            known.current_leader_epoch = part.current_leader_epoch
            known.fetch_offset = part.fetch_offset
            known.last_fetched_epoch = part.last_fetched_epoch
            known.log_start_offset = part.follower_log_start_offset
            known.max_bytes = part.max_bytes
        return 0

    cdef int take_session_parts(self) except -1:
        """The parts become those of the session, in its order; keys point into the session's own
        bytes.
        """
        cdef SessionPartition known
        cdef FetchPart* part
        self.drop_parts(0)
        for known in self.session.partitions.values():
            part = self.add_part()
            part.key = <const uint8_t*>PyBytes_AS_STRING(known.key)
            part.key_size = <int32_t>PyBytes_GET_SIZE(known.key)
            part.index = known.index
            part.current_leader_epoch = known.current_leader_epoch
            part.fetch_offset = known.fetch_offset
            part.last_fetched_epoch = known.last_fetched_epoch
            part.follower_log_start_offset = known.log_start_offset
            part.max_bytes = known.max_bytes
            Py_INCREF(known)
            part.session_partition = <void*>known
        return 0

    # -- reading ------------------------------------------------------------------------------

    cdef int read(self) except -1:
        """Look up every part. Only offsets and regions: no data is touched."""
        cdef int32_t i
        self.budget = min(
            <int64_t>max(self.max_bytes, 0), min(<int64_t>self.lane.max_bytes, ANSWER_BYTES_MAX)
        )
        if self.client_id is not None:
            self.budget = min(self.budget, self.quota_bytes)
        self.drop_files()
        self.total_bytes = 0
        self.any_failed = self.any_complete = self.any_moved = False
        for i in range(self.part_count):
            self.read_part(&self.parts[i], self.budget - self.total_bytes)
            self.total_bytes += self.parts[i].size
            if self.parts[i].error_code != ERROR_NONE or self.parts[i].diverging_epoch >= 0:
                self.any_failed = True
        return 0

    cdef TopicEntry find_topic(self, FetchPart* part):
        if self.api_version >= FETCH_TOPIC_IDS_FROM:
            return self.lane.table.find_id(part.key)
        return self.lane.table.find_name(part.key, part.key_size)

    cdef int read_part(self, FetchPart* part, int64_t budget) except -1:
        cdef TopicEntry entry = self.find_topic(part)
        cdef Partition partition
        part.high_watermark = part.last_stable_offset = part.log_start_offset = -1
        part.diverging_epoch = part.leader_id = part.preferred = -1
        part.size = 0
        if entry is None and self.api_version >= FETCH_TOPIC_IDS_FROM:
            part.error_code = ERROR_UNKNOWN_TOPIC_ID
            return 0
        if self.lane.gates.authorizer is not None:
            name = PyBytes_FromStringAndSize(
                <const char*>part.key, part.key_size
            ) if entry is None else entry.name
            if not self.lane.gates.authorizer.may_read(self.peer.info, name):
                part.error_code = ERROR_TOPIC_AUTHORIZATION_FAILED
                return 0
        partition = None if entry is None else entry.partition(part.index)
        if partition is None:
            part.error_code = ERROR_UNKNOWN_TOPIC_OR_PARTITION
            return 0
        part.error_code = partition.gate_error() if partition.gates else ERROR_NONE
        if (
            part.error_code == ERROR_NOT_LEADER_OR_FOLLOWER
            and self.replica_id < 0
            and self.api_version >= FETCH_FROM_FOLLOWERS_FROM
            and partition.is_readable()
        ):
            part.error_code = ERROR_NONE
        if part.error_code == ERROR_NONE and part.current_leader_epoch >= 0:
            if part.current_leader_epoch < partition.leader_epoch:
                part.error_code = ERROR_FENCED_LEADER_EPOCH
            elif part.current_leader_epoch > partition.leader_epoch:
                part.error_code = ERROR_UNKNOWN_LEADER_EPOCH
        if part.error_code != ERROR_NONE:
            if partition.gates & GATE_NOT_LEADER or part.error_code == ERROR_FENCED_LEADER_EPOCH:
                part.leader_id = partition.leader_id
                part.leader_epoch = partition.leader_epoch
            return 0
        return self.read_log(part, partition, budget)

    cdef int read_log(self, FetchPart* part, Partition partition, int64_t budget) except -1:
        cdef LogCore log = partition.log
        cdef ReadResult result
        cdef Segment segment
        cdef int64_t limit
        cdef int64_t upper = partition.high_watermark
        cdef bint first = self.total_bytes == 0
        if self.replica_id >= 0:
            upper = log.log_end_offset
        elif self.isolation_level == READ_COMMITTED:
            upper = partition.last_stable_offset()
        if part.last_fetched_epoch >= 0:
            part.error_code = self.check_diverging(part, partition)
            if part.error_code != ERROR_NONE or part.diverging_epoch >= 0:
                return 0
        if part.fetch_offset < log.log_start_offset or part.fetch_offset > log.log_end_offset:
            part.error_code = ERROR_OFFSET_OUT_OF_RANGE
            return 0
        if self.replica_id >= 0 and self.arriving:
            part.error_code = partition.note_replica_fetch(
                self.replica_id, self.replica_epoch, part.fetch_offset,
                part.follower_log_start_offset,
            )
            if part.error_code != ERROR_NONE:
                return 0
        part.high_watermark = partition.high_watermark
        part.last_stable_offset = partition.last_stable_offset()
        part.log_start_offset = log.log_start_offset
        if self.near is not None and not partition.gates & GATE_NOT_LEADER:
            part.preferred = partition.nearest(self.near, part.fetch_offset)
            if part.preferred >= 0:
                # KIP-392: nothing but where to go.
                self.any_moved = True
                return 0
        if part.fetch_offset >= upper or (budget <= 0 and not first):
            return 0
        if self.replica_id >= 0 and partition.is_held_back(self.replica_id):
            return 0
        limit = min(budget, <int64_t>max(part.max_bytes, 0))
        segment = log.read(part.fetch_offset, limit, upper, first, &result)
        if result.error_code != ERROR_NONE:
            part.error_code = result.error_code
            part.high_watermark = part.last_stable_offset = part.log_start_offset = -1
            return 0
        if segment is None or result.size <= 0:
            return 0
        Py_INCREF(segment.file)
        part.file = <void*>segment.file
        part.position = result.position
        part.size = result.size
        part.source = <void*>partition
        part.records = segment.records_in(
            part.fetch_offset, part.size, upper, result.size >= limit
        )
        if upper > segment.next_offset:
            self.any_complete = True
        if self.isolation_level == READ_COMMITTED and self.lane.gates.transactions is not None:
            self.note_aborted(part, partition, segment)
        return 0

    cdef int note_aborted(self, FetchPart* part, Partition partition, Segment segment) except -1:
        """Which transactions in the region a read_committed reader has to leave out."""
        cdef Py_ssize_t i
        cdef list found = self.lane.gates.transactions.aborted(
            partition, part.fetch_offset, segment, part.position, part.size
        )
        if not found:
            return 0
        part.aborted = <int64_t*>malloc(len(found) * 2 * sizeof(int64_t))
        if part.aborted == NULL:
            raise MemoryError
        for i in range(len(found)):
            part.aborted[2 * i], part.aborted[2 * i + 1] = found[i]
        part.aborted_count = <int32_t>len(found)
        return 0

    cdef int16_t check_diverging(self, FetchPart* part, Partition partition) except? -1:
        """KIP-595: the client's last epoch must be part of our history up to its offset."""
        cdef LogCore log = partition.log
        if part.last_fetched_epoch == log.leader_epoch and part.fetch_offset <= log.log_end_offset:
            return ERROR_NONE
        found = log.owner.end_offset_for_epoch(part.last_fetched_epoch)
        if found is None:
            return ERROR_OFFSET_OUT_OF_RANGE
        epoch, end_offset = found
        if epoch < 0 or end_offset < 0:
            return ERROR_OFFSET_OUT_OF_RANGE
        if epoch < part.last_fetched_epoch or end_offset < part.fetch_offset:
            part.diverging_epoch = epoch
            part.diverging_end_offset = end_offset
        return ERROR_NONE

    # -- waiting ------------------------------------------------------------------------------

    cdef bint satisfied(self) noexcept:
        return (
            self.max_wait_ms <= 0
            or self.part_count == 0
            or self.any_failed
            or self.any_complete
            or self.any_moved
            or self.error_code != ERROR_NONE
            or self.total_bytes >= min(<int64_t>self.min_bytes, self.budget)
        )

    cdef int wait(self) except -1:
        cdef int32_t i
        cdef FetchPart* part
        cdef Partition partition
        if self.session is None or self.parts[0].session_partition == NULL:
            # Keys point into the connection's buffer, which goes on to other requests.
            self.detach_keys()
        self.drop_files()
        self.slot = self.peer.queue.open_slot()
        self.peer.queue.hold(self.slot, self.held_bytes())
        self.partitions = []
        for i in range(self.part_count):
            part = &self.parts[i]
            partition = self.find_topic(part).partition(part.index)
            partition.fetch_waiters.add(self)
            self.partitions.append(partition)
        self.peer.waiters.add(self)
        self.peer.parked += 1
        self.timer = self.lane.call_later(self.max_wait_ms / 1000.0, self.time_out)
        return 0

    cdef int on_progress(self) except -1:
        if self.done:
            return 0
        return self.go_on(False)

    def time_out(self):
        """Answer with what there is."""
        if not self.done:
            self.go_on(True)

    cdef int go_on(self, bint timed_out) except -1:
        try:
            self.read()
            if timed_out or self.satisfied():
                self.forget_waits()
                if self.timing.arrived_ns:
                    self.lane.gates.stats.lap(&self.timing, STAGE_WAIT)
                self.answer()
            else:
                self.drop_files()
        except BaseException:
            self.fail()
            raise
        return 0

    cdef int fail(self) except -1:
        """Its place among the answers can never be filled: the connection ends."""
        self.forget_waits()
        return self.peer.abort("fetch failed")

    cdef int cancel(self) except -1:
        self.forget_waits()
        return 0

    cdef int forget_waits(self) except -1:
        cdef Partition partition
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.partitions is not None:
            for partition in self.partitions:
                partition.fetch_waiters.discard(self)
            self.partitions = None
            self.peer.parked -= 1
        self.peer.waiters.discard(self)
        return 0

    # -- answering ----------------------------------------------------------------------------

    cdef int select_parts(self) except -1:
        """Which parts the answer names; a session remembers what it was told."""
        cdef int32_t i
        cdef FetchPart* part
        cdef SessionPartition known
        for i in range(self.part_count):
            part = &self.parts[i]
            part.included = True
            if part.session_partition == NULL:
                continue
            known = <SessionPartition>part.session_partition
            part.included = self.full or part.preferred >= 0
            if known.tell(
                part.error_code, part.high_watermark, part.log_start_offset, part.size,
                part.diverging_epoch >= 0
            ):
                part.included = True
            if part.size > 0 and self.part_count > 1:
                self.session.move_to_end(known)
        return 0

    cdef int answer(self) except -1:
        cdef uint8_t* start
        if self.client_id is not None and self.lane.gates.quotas is not None:
            self.charge()
        if self.throttle_time_ms == 0:
            self.select_parts()
        self.count_parts()
        if self.slot is None and self.total_bytes == 0:
            start = self.peer.queue.reserve_direct(self.bound())
            if start != NULL:
                return self.encode_direct(start)
        if self.slot is None:
            self.slot = self.peer.queue.open_slot()
        self.encode_into_slot()
        self.slot.timing = self.timing
        self.peer.queue.complete(self.slot)
        self.slot = None
        self.peer.wake_writer()
        return 0

    cdef int count_parts(self) except -1:
        """What the answer tells, for the counters of its partitions and of errors."""
        cdef int32_t i
        cdef FetchPart* part
        cdef RequestStats stats = self.lane.gates.stats
        if self.error_code != ERROR_NONE:
            stats.count_error(API_FETCH, self.error_code)
        for i in range(self.part_count):
            part = &self.parts[i]
            if part.size > 0:
                # (It was looked up in this very turn of the loop: the table still holds it.)
                (<Partition>part.source).note_sent(part.size, part.records, self.replica_id >= 0)
            elif part.error_code != ERROR_NONE and part.included:
                stats.count_error(API_FETCH, part.error_code)
        return 0

    cdef int charge(self) except -1:
        """Beyond its quota an answer names no partition, as in Kafka. The session of a client that
        begins one is not begun; another one keeps what it was told last.
        """
        self.throttle_time_ms = self.lane.gates.quotas.fetched(
            self.peer.info, self.client_id, self.total_bytes + <int64_t>self.bound(), self.busy_ns
        )
        if self.throttle_time_ms == 0:
            return 0
        self.leave_parts_out()
        self.total_bytes = 0
        if self.full and self.session_id != 0:
            self.lane.sessions.forget(self.session_id)
            self.session_id = 0
        return 0

    cdef int encode_direct(self, uint8_t* start) except -1:
        """An answer without records."""
        cdef uint8_t* p = self.encode_head(start)
        cdef int32_t i = 0, last
        while i < self.part_count:
            if not self.parts[i].included:
                i += 1
                continue
            p = self.encode_topic_start(p, i, &last)
            while i <= last:
                if self.parts[i].included:
                    p = self.encode_part(p, &self.parts[i])
                    p = self.encode_part_tags(p, &self.parts[i])
                i += 1
            if self.api_version >= FETCH_FLEXIBLE_FROM:
                p = wire_put_int8(p, 0)
        if self.api_version >= FETCH_FLEXIBLE_FROM:
            p = wire_put_int8(p, 0)
        wire_put_int32(start, <int32_t>(p - start - 4))
        self.peer.queue.commit_direct(p - start)
        self.peer.queue.note_answer(&self.timing)
        return 0

    cdef int encode_into_slot(self) except -1:
        cdef Slot slot = self.slot
        cdef FetchPart* part
        cdef uint8_t* start = wire_reserve(&slot.bytes, self.bound())
        cdef uint8_t* p
        cdef int32_t i = 0, last
        if start == NULL:
            raise MemoryError
        p = self.encode_head(start)
        while i < self.part_count:
            if not self.parts[i].included:
                i += 1
                continue
            p = self.encode_topic_start(p, i, &last)
            while i <= last:
                part = &self.parts[i]
                i += 1
                if not part.included:
                    continue
                p = self.encode_part(p, part)
                if part.size > 0:
                    slot.bytes.length = p - start
                    slot.add_region(<LogFile>part.file, part.position, part.size)
                p = self.encode_part_tags(p, part)
            if self.api_version >= FETCH_FLEXIBLE_FROM:
                p = wire_put_int8(p, 0)
        if self.api_version >= FETCH_FLEXIBLE_FROM:
            p = wire_put_int8(p, 0)
        slot.bytes.length = p - start
        wire_put_int32(start, <int32_t>(slot.bytes.length - 4 + self.total_bytes))
        return 0

    cdef int clear(self) except -1:
        """Make it ready for the next request of the lane."""
        self.drop_parts(0)
        self.session = None
        self.error_code = ERROR_NONE
        self.throttle_time_ms = 0
        self.slot = None
        self.peer = None
        self.client_id = None
        self.done = False
        return self.shrink()


cdef class FetchLane:
    """Takes Fetch frames. `max_bytes`: the broker's `fetch.max.bytes`."""

    def __init__(
        self,
        PartitionTable table not None,
        Gates gates not None,
        FetchSessionCache sessions not None,
        *,
        int32_t max_bytes,
        call_later,
    ):
        self.table = table
        self.gates = gates
        self.sessions = sessions
        self.max_bytes = max_bytes
        self.call_later = call_later

    cdef int handle(
        self, Peer peer, const RequestHeader* header, uint8_t* frame, size_t n
    ) except -1:
        cdef FetchTask task = self.spare
        cdef RequestStats stats = self.gates.stats
        cdef int64_t began = begin_charge(self.gates)
        if task is None:
            task = FetchTask.__new__(FetchTask)
            task.lane = self
        else:
            self.spare = None
        task.peer = peer
        task.timing = stats.current
        if task.parse(header, frame + n) != 0:
            peer.abort("malformed Fetch request")
            return self.recycle(task)
        if task.replica_id >= 0 and peer.parked:
            # A follower has news: a partition that it began to follow, rolled or flushed. What it
            # asked before is answered with what there is, or these would wait behind that.
            peer.hurry()
        if began and task.replica_id < 0:
            task.client_id = client_of(header)
            task.quota_bytes = self.gates.quotas.fetch_bytes_max(peer.info, task.client_id)
        if task.api_version >= FETCH_SESSIONS_FROM:
            task.enter_session(frame + n, wall_ms())
        else:
            task.full = True
            task.session_id = 0
        if task.timing.arrived_ns:
            stats.lap(&task.timing, STAGE_PARSE)
        task.arriving = True
        if self.gates.near_racks is not None and task.rack_size and task.replica_id < 0:
            task.near = self.gates.near_racks.get(task.rack[:task.rack_size])
        task.read()
        task.near = None
        task.arriving = False
        if task.timing.arrived_ns:
            stats.lap(&task.timing, STAGE_READ)
        if began:
            task.busy_ns = busy_ns(began)
        if not task.satisfied():
            return task.wait()
        task.answer()
        return self.recycle(task)

    cdef int recycle(self, FetchTask task) except -1:
        task.clear()
        self.spare = task
        return 0
