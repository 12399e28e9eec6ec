# The sampling profiler of a process (see sampler.h).
from libc.stdint cimport int64_t, uint64_t, uintptr_t, uint8_t

cdef extern from "sampler.h" nogil:
    enum:
        SA_BUSY
        SA_FOREIGN_HANDLER
        SA_NO_TIMER
        SA_NO_STACK
        SA_PROCESSOR
        SA_ASLEEP
        SA_CUT_NATIVE
        SA_CUT_PYTHON
        SA_WAITING
        PF_KNOWN
        PF_CODES
        PF_NO_CODE
        PF_ENTRY
    ctypedef struct uw_module:
        uintptr_t base
        uintptr_t low
        uintptr_t high
        size_t count
        char* path
    ctypedef struct uw_tables:
        uw_module* modules
        size_t count
        size_t rows
        size_t modules_skipped
    ctypedef struct pf_code:
        int line
        char* name
        char* file
    ctypedef struct pf_table:
        pf_code* codes
    ctypedef struct sa_thread:
        int tid
        int wall
        int64_t cpu_ns
        int64_t samples
        int64_t weight
        int64_t asleep
        int64_t waiting
        int64_t lost
        int64_t cut
        int64_t handler_ns
    ctypedef struct sa_sampler:
        uw_tables tables
        pf_table* python
        uint64_t* arena
        sa_thread* threads
        int thread_count
        int threads_left_out
        int started
        int64_t wall_ns
    ctypedef struct sa_stack:
        size_t at
        size_t length
        int64_t weight
        int64_t samples
    int sa_prepare(sa_sampler* s, size_t arena_bytes, size_t rows_max) noexcept
    void sa_release(sa_sampler* s) noexcept
    void sa_stop(sa_sampler* s) noexcept
    int64_t sa_collect(
        sa_sampler* s, size_t stacks_max, sa_stack** found, int64_t* left_out
    ) noexcept

cdef extern from "sampler.h":
    # With the GIL: it looks at the interpreter's threads.
    int sa_start(sa_sampler* s, int64_t period_ns) noexcept

cdef class Sampler:
    cdef sa_sampler state
    cdef bint prepared
    cdef list describe_stacks(self, sa_stack* stacks, int64_t count)
