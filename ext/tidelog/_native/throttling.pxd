# What the native lanes have to do with client quotas: the time that a request takes of the loop,
# and who is charged for it. Gates.quotas is None while nobody has one: then this is one pointer
# check.
from libc.stdint cimport int32_t, int64_t

from tidelog._native.request cimport Gates, RequestHeader
from tidelog._native.response cimport Peer

# Nanoseconds of a monotonic clock; 0 when there are no quotas.
cdef int64_t begin_charge(Gates gates) noexcept
# Nanoseconds since then.
cdef int64_t busy_ns(int64_t began) noexcept
# The client's name, b"" for null.
cdef bytes client_of(const RequestHeader* header)
# The handling of a Produce request of n bytes began then; how long its client has to wait.
cdef int32_t charge_produce(
    Gates gates, Peer peer, const RequestHeader* header, size_t n, int64_t began
) except -1
