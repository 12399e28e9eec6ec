"""Samples where the threads of this process are (see sampler.h): one run, from its start to what
was found, as addresses and names of Python functions.

`prepare` reads the unwind tables of all modules and `collect` folds the samples: both take some
milliseconds without the GIL and belong on a helper thread. `start` and `stop` belong on the thread
that is to be sampled by the wall clock. Off, it costs nothing; it is not there.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from tidelog.errors import InvariantError

#: Whether functions of Python can be told; their layout in memory differs by version.
PYTHON_FRAMES = bool(PF_KNOWN)
ASLEEP = SA_ASLEEP
WAITING = SA_WAITING
CUT_NATIVE = SA_CUT_NATIVE
CUT_PYTHON = SA_CUT_PYTHON
#: Of a Python frame: its function could not be noted any more; the interpreter was entered for it.
NO_CODE = PF_NO_CODE
ENTRY = PF_ENTRY


class SamplerError(Exception):
    """Samples cannot be taken now; the message says why."""


_REASONS = {
    SA_BUSY: "another run of the sampler is under way",
    SA_FOREIGN_HANDLER: "somebody else in this process handles SIGPROF",
    SA_NO_TIMER: "the system gives no timer",
    SA_NO_STACK: "the thread's stack cannot be found",
    SA_PROCESSOR: "the registers of this processor are not known (x86-64 is)",
}


cdef class Sampler:
    """One run. Memory is held from `prepare` to `release`."""

    def __cinit__(self):
        memset(&self.state, 0, sizeof(sa_sampler))

    def __dealloc__(self):
        sa_release(&self.state)

    def prepare(self, size_t arena_bytes, size_t unwind_rows_max):
        """Takes memory and reads the unwind tables. Raises MemoryError."""
        cdef int status
        if self.prepared:
            raise InvariantError("a sampler is prepared once")
        self.prepared = True
        with nogil:
            status = sa_prepare(&self.state, arena_bytes, unwind_rows_max)
        if status != 0:
            raise MemoryError

    def start(self, int rate_hz):
        """Samples from now on, the calling thread by the wall clock, the other threads of Python by
        CPU time. Raises SamplerError.
        """
        cdef int status
        if not self.prepared or self.state.started or rate_hz < 1:
            raise InvariantError("a sampler is prepared, then started once, at a rate")
        status = sa_start(&self.state, 1_000_000_000 // rate_hz)
        if status != 0:
            raise SamplerError(_REASONS[status])

    def stop(self):
        """No more samples. Without effect when it does not run."""
        sa_stop(&self.state)

    def release(self):
        """Stops, and gives the memory back."""
        sa_release(&self.state)

    @property
    def wall_ns(self):
        """How long it ran; after `stop`."""
        return self.state.wall_ns

    @property
    def threads_left_out(self):
        """Threads that could not be sampled."""
        return self.state.threads_left_out

    def threads(self):
        """(native id, by the wall clock?, CPU ns, samples, ticks, ticks asleep, ticks without a
        CPU, lost, cut short, ns in the handler) of each thread. A sample stands for one tick or,
        where the signal had to wait, for several.
        """
        cdef int i
        cdef list found = []
        for i in range(self.state.thread_count):
            thread = self.state.threads[i]
            found.append((
                thread.tid, bool(thread.wall), thread.cpu_ns, thread.samples, thread.weight,
                thread.asleep, thread.waiting, thread.lost, thread.cut, thread.handler_ns,
            ))
        return found

    def modules(self):
        """(path, base, first address, address behind the last) of each loaded module; the program
        itself has no path.
        """
        cdef size_t i
        cdef list found = []
        for i in range(self.state.tables.count):
            found.append((
                self.state.tables.modules[i].path.decode(errors="replace"),
                self.state.tables.modules[i].base,
                self.state.tables.modules[i].low,
                self.state.tables.modules[i].high,
            ))
        return found

    @property
    def unwind_rows(self):
        """Rows of the unwind tables, and how many modules have none."""
        return self.state.tables.rows, self.state.tables.modules_skipped

    def codes(self):
        """Slot -> (qualified name, end of the file's path, first line) of Python functions."""
        cdef int i
        cdef dict found = {}
        if self.state.python == NULL:
            return found
        for i in range(PF_CODES):
            code = &self.state.python.codes[i]
            if code.line or code.name[0]:
                found[i] = (
                    code.name.decode(errors="replace"),
                    code.file.decode(errors="replace"),
                    code.line,
                )
        return found

    def collect(self, size_t stacks_max):
        """Once, after `stop`: a list of (thread, flags, ticks, samples, native functions, Python
        frames), both from the innermost on, and the ticks of those beyond `stacks_max`. Native
        functions are addresses of their beginnings. Raises MemoryError.
        """
        cdef sa_stack* stacks
        cdef int64_t count, left_out
        if self.state.started or self.state.arena == NULL:
            raise InvariantError("samples are collected after the run")
        with nogil:
            count = sa_collect(&self.state, stacks_max, &stacks, &left_out)
        if count < 0:
            raise MemoryError
        try:
            return self.describe_stacks(stacks, count), left_out
        finally:
            free(stacks)

    cdef list describe_stacks(self, sa_stack* stacks, int64_t count):
        cdef int64_t i
        cdef size_t j, native, python
        cdef uint64_t* words
        cdef list found = []
        for i in range(count):
            words = self.state.arena + stacks[i].at
            native = words[0] & 0xFF
            python = words[0] >> 8 & 0xFF
            found.append((
                <int>(words[0] >> 16 & 0xFF),
                <int>(words[0] >> 24 & 0xFF),
                stacks[i].weight,
                stacks[i].samples,
                tuple([words[1 + j] for j in range(native)]),
                tuple([words[1 + native + j] for j in range(python)]),
            ))
        return found
