"""Loops that measure a disk or a network from without the interpreter (contract; see probe.pyi).

Each object is used by one thread at a time.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "loadgen_hist.h" nogil:
    enum:
        LG_HIST_BUCKETS

    ctypedef struct lg_hist:
        uint64_t count
        uint64_t sum
        uint64_t min
        uint64_t max
        uint64_t *buckets

    void lg_hist_clear(lg_hist *h) noexcept
    uint64_t lg_hist_lower(uint32_t index) noexcept

cdef extern from "probe.h" nogil:
    enum:
        PB_AGAIN
        PB_DONE

    uint64_t pb_now() noexcept
    uint8_t *pb_buffer(size_t size, uint64_t seed) noexcept

cdef extern from "probe_disk.h" nogil:
    enum:
        PD_SYNC_NONE
        PD_SYNC_DATA
        PD_SYNC_FILE
        PD_MAX_WRITERS

    ctypedef struct pd_loop:
        int fd
        int writing
        int random
        int sync
        int wrap
        int timed
        size_t size
        uint64_t span
        uint64_t state
        uint8_t *buffer
        uint64_t calls
        lg_hist latency

    int pd_run_slice(pd_loop *l, uint64_t until_ns, uint64_t max_calls) noexcept

    ctypedef struct pd_group:
        int fd
        int writers
        size_t size
        uint8_t *buffer
        uint64_t until_ns
        uint64_t max_writes
        int stop
        uint64_t syncs
        uint64_t ended_ns
        int error
        lg_hist latency

    int pd_group_start(pd_group *g) noexcept
    int pd_group_running(pd_group *g) noexcept
    void pd_group_join(pd_group *g) noexcept

cdef extern from "probe_net.h" nogil:
    enum:
        PN_PING
        PN_ECHO
        PN_SEND
        PN_SENDFILE
        PN_READ_SEND
        PN_SINK
        PN_MAX_WINDOW

    ctypedef struct pn_stream:
        int fd
        int kind
        int file
        size_t size
        size_t window
        size_t capacity
        uint8_t *buffer
        uint64_t span
        int wrap
        int closing
        int ended
        uint64_t messages
        uint64_t bytes
        lg_hist latency

    int pn_run_slice(pn_stream *s, uint64_t until_ns, uint64_t max_bytes) noexcept


cdef class FileLoop:
    cdef pd_loop _loop


cdef class Stream:
    cdef pn_stream _stream

    cdef int _slices(self, uint64_t until_ns, uint64_t max_bytes) except -1
