# What both native lanes need of a request: its header, and the gates that later work plugs into.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.request_stats cimport RequestStats

cdef struct RequestHeader:
    int16_t api_key
    int16_t api_version
    int32_t correlation_id
    const uint8_t* client_id     # into the frame; size -1 = null
    int32_t client_id_size
    const uint8_t* body          # behind the header

# Reads the header of `frame` (without its size prefix). `flexible_from`: first version of the API
# with header v2. 0, or -1 when malformed.
cdef int parse_header(
    const uint8_t* frame, size_t n, int16_t flexible_from, RequestHeader* header
) noexcept nogil

cdef int64_t wall_ms() noexcept nogil
# To about 4 ms: for idle connections.
cdef int64_t monotonic_ms() noexcept nogil

cdef class Gates:
    # Hooks of the native lanes; None = the gate is open and costs one pointer check.
    # .may_write(info, topic: bytes) / .may_read(info, topic: bytes) -> bool
    cdef public object authorizer
    # .produced(info, client_id: bytes, nbytes, busy_ns) / .fetched(...) -> throttle_time_ms; pauses
    # the peer itself. .fetch_bytes_max(info, client_id: bytes) -> most bytes of an answer
    cdef public object quotas
    # .must_ask(writer) -> bool, for a transactional batch, and .verify([writer],
    # transactional_id: bytes, api_version) -> awaitable of an error code for each; writer:
    # (partition, producer_id, producer_epoch, base_sequence);
    # .aborted(partition, fetch_offset, segment, position, size) -> [(producer_id, first_offset)]
    # for read_committed
    cdef public object transactions
    # KIP-392: rack (bytes) -> ids of the live nodes in it, without this node's own rack
    cdef public dict near_racks
    # Counts and times of all requests.
    cdef readonly RequestStats stats
