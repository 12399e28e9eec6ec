"""The ordered answers of one connection (design D6: both lanes share one response queue).

Loop thread only; no I/O. `next_output` gathers what is ready into as few pieces as possible, so
that a pass of pipelined
requests leaves with one `send`, and a fetch with one `send` (MSG_MORE) and one `sendfile`.
"""

from cpython.ref cimport Py_INCREF, Py_DECREF
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from tidelog._native.log_file cimport LogFile
from tidelog._native.wire cimport wire_reserve

from tidelog.errors import InvariantError

cdef enum:
    # An `out` that grew beyond this is given back once it is empty.
    OUT_KEEP_BYTES = 64 * 1024
    # What a slot takes beside its bytes: the object, a region or two.
    SLOT_BYTES = 256


cdef class Slot:
    """One answer: bytes with file regions between them."""

    def __dealloc__(self):
        cdef int i
        for i in range(self.region_count):
            Py_DECREF(<object>self.regions[i].file)
        free(self.regions)
        free(self.bytes.data)

    cdef int add_region(self, LogFile file, int64_t position, int64_t size) except -1:
        cdef Region* grown
        cdef Region* region
        cdef int capacity
        if self.region_count == self.region_capacity:
            capacity = 2 * self.region_capacity if self.region_capacity else 2
            grown = <Region*>realloc(self.regions, capacity * sizeof(Region))
            if grown == NULL:
                raise MemoryError
            self.regions = grown
            self.region_capacity = capacity
        region = &self.regions[self.region_count]
        region.after = self.bytes.length
        Py_INCREF(file)
        region.file = <void*>file
        region.fd = file.fd
        region.position = position
        region.size = size
        self.region_count += 1
        return 0


cdef class ResponseQueue:
    """Answers in request order."""

    def __dealloc__(self):
        free(self.out.data)

    cdef uint8_t* reserve_direct(self, size_t n) except? NULL:
        cdef uint8_t* room
        if self.head is not None:
            return NULL
        room = wire_reserve(&self.out, n)
        if room == NULL:
            raise MemoryError
        return room

    cdef void commit_direct(self, size_t n) noexcept:
        self.out.length += n
        self.memory += n

    cdef int note_answer(self, const Timing* timing) noexcept:
        if timing.arrived_ns and self.stats is not None and self.sending_count < SENDING_MAX:
            self.sending[self.sending_count] = timing[0]
            self.sending_count += 1
            if self.out_sent == self.out.length:
                # (What came last was a region.)
                self.note_sent()
        return 0

    cdef int note_sent(self) noexcept:
        cdef int i
        for i in range(self.sending_count):
            self.stats.sent(&self.sending[i])
        self.sending_count = 0
        return 0

    cdef Slot open_slot(self):
        cdef Slot slot = Slot.__new__(Slot)
        if self.tail is None:
            self.head = slot
        else:
            self.tail.next = slot
        self.tail = slot
        self.waiting += 1
        self.held += SLOT_BYTES
        self.memory += SLOT_BYTES
        return slot

    cdef void hold(self, Slot slot, int64_t n) noexcept:
        slot.held += n
        self.held += n
        self.memory += n

    cdef void complete(self, Slot slot) noexcept:
        slot.ready = True
        self.memory += <int64_t>slot.bytes.length - slot.held
        self.held -= slot.held
        slot.held = 0

    cdef int push(self, const uint8_t* data, size_t n) except -1:
        cdef Timing untimed
        untimed.arrived_ns = 0
        return self.push_timed(data, n, &untimed)

    cdef int push_timed(self, const uint8_t* data, size_t n, const Timing* timing) except -1:
        """Put an answer at the end."""
        cdef Slot slot
        cdef uint8_t* room = self.reserve_direct(n)
        if room != NULL:
            memcpy(room, data, n)
            self.commit_direct(n)
            self.note_answer(timing)
            return 0
        slot = self.open_slot()
        slot.timing = timing[0]
        return self.fill(slot, data, n)

    cdef int fill(self, Slot slot, const uint8_t* data, size_t n) except -1:
        cdef uint8_t* room = wire_reserve(&slot.bytes, n)
        if room == NULL:
            raise MemoryError
        memcpy(room, data, n)
        slot.bytes.length += n
        self.complete(slot)
        return 0

    cdef int gather(self) except -1:
        """Move the bytes of ready slots into `out`, up to the first region; drop slots that are
        through.
        """
        cdef Slot slot
        cdef size_t upto, n
        cdef uint8_t* room
        while self.head is not None and self.head.ready:
            slot = self.head
            upto = slot.bytes.length
            if self.head_region < slot.region_count:
                upto = slot.regions[self.head_region].after
            n = upto - self.head_taken
            if n:
                room = wire_reserve(&self.out, n)
                if room == NULL:
                    raise MemoryError
                memcpy(room, slot.bytes.data + self.head_taken, n)
                self.out.length += n
                self.head_taken = upto
            if self.head_region < slot.region_count:
                return 0
            self.head = slot.next
            slot.next = None
            if self.head is None:
                self.tail = None
            self.note_answer(&slot.timing)
            self.waiting -= 1
            self.held -= SLOT_BYTES
            self.memory -= SLOT_BYTES
            self.head_taken = 0
            self.head_region = 0
            self.region_sent = 0
        return 0

    cdef int next_output(self, Output* output) except -1:
        cdef Region* region
        cdef bint region_next
        if self.head is not None and self.head.ready:
            self.gather()
        region_next = self.head is not None and self.head.ready
        if self.out_sent < self.out.length:
            output.kind = OUTPUT_BYTES
            output.data = self.out.data + self.out_sent
            output.size = self.out.length - self.out_sent
            output.more = region_next
        elif region_next:
            region = &self.head.regions[self.head_region]
            output.kind = OUTPUT_REGION
            output.fd = region.fd
            output.position = region.position + self.region_sent
            output.size = region.size - self.region_sent
        else:
            output.kind = OUTPUT_NOTHING
        return 0

    cdef void advance(self, const Output* output, size_t n) noexcept:
        if output.kind == OUTPUT_BYTES:
            self.out_sent += n
            self.memory -= n
            if self.out_sent == self.out.length:
                self.out_sent = 0
                self.out.length = 0
                if self.sending_count:
                    self.note_sent()
                if self.out.capacity > OUT_KEEP_BYTES:
                    free(self.out.data)
                    self.out.data = NULL
                    self.out.capacity = 0
            elif self.out_sent > OUT_KEEP_BYTES and self.out_sent * 2 > self.out.length:
                # A peer that reads slowly while answers keep coming: give the sent half back.
                memmove(
                    self.out.data, self.out.data + self.out_sent, self.out.length - self.out_sent
                )
                self.out.length -= self.out_sent
                self.out_sent = 0
        elif output.kind == OUTPUT_REGION:
            self.region_sent += n
            if self.region_sent >= self.head.regions[self.head_region].size:
                self.head_region += 1
                self.region_sent = 0

    cdef void shrink(self) noexcept:
        if self.out_sent == self.out.length:
            free(self.out.data)
            self.out.data = NULL
            self.out.length = self.out.capacity = self.out_sent = 0

    cdef bint is_waiting(self) noexcept:
        return self.head is None or not self.head.ready

    cdef int drop(self) except -1:
        # One by one: a long chain that goes at once would recurse through its links.
        cdef Slot slot = self.head
        cdef Slot behind
        self.head = self.tail = None
        while slot is not None:
            behind = slot.next
            slot.next = None
            slot = behind
        free(self.out.data)
        self.out.data = NULL
        self.out.length = self.out.capacity = self.out_sent = 0
        self.waiting = self.head_region = 0
        self.memory = self.held = self.region_sent = 0
        self.head_taken = 0
        return 0


cdef class Peer:
    """The sending side of a connection as the lanes see it; a transport overrides every method."""

    cdef int wake_writer(self) except -1:
        raise InvariantError("Peer is abstract")

    cdef int block(self) except -1:
        raise InvariantError("Peer is abstract")

    cdef int unblock(self) except -1:
        raise InvariantError("Peer is abstract")

    cdef int abort(self, str reason) except -1:
        raise InvariantError("Peer is abstract")
