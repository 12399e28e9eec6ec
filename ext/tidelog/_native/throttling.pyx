"""Client quotas in the native lanes (KIP-13, KIP-124, KIP-219). What is measured, and who waits how
long, is decided in Python (tidelog/quotas): a client that has a quota pays for it, the others do
not.

Loop thread only.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t

from tidelog._native.request cimport Gates, RequestHeader
from tidelog._native.request_stats cimport now_ns
from tidelog._native.response cimport Peer


cdef int64_t begin_charge(Gates gates) noexcept:
    return 0 if gates.quotas is None else now_ns()


cdef bytes client_of(const RequestHeader* header):
    return PyBytes_FromStringAndSize(<const char*>header.client_id, max(header.client_id_size, 0))


cdef int32_t charge_produce(
    Gates gates, Peer peer, const RequestHeader* header, size_t n, int64_t began
) except -1:
    return gates.quotas.produced(peer.info, client_of(header), n, now_ns() - began)


cdef int64_t busy_ns(int64_t began) noexcept:
    return now_ns() - began
