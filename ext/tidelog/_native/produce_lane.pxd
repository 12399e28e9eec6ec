# Produce (key 0) from a frame to the log and back, without a Python object per record or field.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.partition cimport Partition, PartitionTable, TopicEntry
from tidelog._native.produce_message cimport ProduceMessage, ProducePart, ReasonTexts
from tidelog._native.request cimport Gates, RequestHeader
from tidelog._native.request_stats cimport Timing
from tidelog._native.response cimport Peer, Slot

cdef class ProduceTask(ProduceMessage):
    # One request. The lane keeps a spare one; a request that has to wait takes it along.
    cdef ProduceLane lane
    cdef Peer peer
    cdef Slot slot               # opened when the request has to wait
    cdef object timer
    cdef int32_t next_part       # parts before it are decided
    cdef int blocked_by          # what run() stopped at
    cdef int rolls               # in a row, for one part, while nobody appended to its log
    cdef object unverified       # parts that the transaction gate is asked for now
    cdef object verdict          # of the transaction gate: what has to be awaited for them
    cdef dict verdicts           # error codes by part, of the gate; None: it was not asked
    cdef int32_t asked_again     # the part whose verdict was void by the time of its turn; or -1
    cdef object running          # the task that goes on where it was blocked
    cdef bint opening            # it waits for its turn to open a batch, or opens it
    cdef int32_t rolled_part
    cdef int64_t rolled_at       # log end offset at the last of them
    cdef Timing timing
    cdef bint flushing           # it waits for a flush, not for replicas
    cdef int run(self) except -1
    cdef int append_part(self, ProducePart* part) except -1
    cdef TopicEntry entry_of(self, ProducePart* part)
    # The partition that the part is for; None when it is refused, with its error.
    cdef Partition check_part(self, ProducePart* part)
    cdef bint is_verified(self, ProducePart* part, Partition partition) except -1
    cdef int ask_gate(self) except -1
    cdef int append_to(self, ProducePart* part, Partition partition) except -1
    cdef int note_refusal(self, ProducePart* part, Partition partition) except -1
    cdef int note_append(self, ProducePart* part, Partition partition) except -1
    cdef int16_t refuse_before_append(self, ProducePart* part, Partition partition) except? -1
    cdef int refuse_all(self, int16_t error_code) except -1
    # Looks at what waits: true when something still has to.
    cdef bint settle(self) except -1
    cdef int fail(self) except -1
    cdef int finish(self) except -1
    cdef bint still_waits(self) noexcept
    cdef int wait(self) except -1
    cdef int count_errors(self) except -1
    cdef int note_waited(self) noexcept
    cdef int answer(self) except -1
    cdef int fail_part(self, ProducePart* part, int16_t error_code) except -1
    cdef Partition blocking_partition(self)
    cdef int forget_waits(self) except -1
    cdef int clear(self) except -1

cdef class ProduceLane:
    cdef readonly PartitionTable table
    cdef readonly Gates gates
    cdef readonly object call_later          # loop.call_later
    cdef readonly object create_task         # loop.create_task
    # async (partition, records: () -> bytes, api_version) -> AppendAnswer: recompression and the
    # like. `records` is called when it is the batch's turn: those that wait are not copied.
    cdef readonly object slow_append
    # (partition, records: bytes, now_ms) -> (index, message) pairs: what is wrong with single
    # records of a batch that was refused
    cdef readonly object explain
    cdef ReasonTexts texts
    cdef ProduceTask spare
    cdef int64_t now_ms
    # Takes one frame (without size prefix). The buffer is modified (stamps). Malformed: aborts
    # the peer.
    cdef int handle(
        self, Peer peer, const RequestHeader* header, uint8_t* frame, size_t n
    ) except -1
    cdef int recycle(self, ProduceTask task) except -1
