"""Encoder of messages (contract).

Holds the GIL. Fails with MessageEncodeError, TextTooLongError or MemoryError, and then
leaves the buffer longer than
it was: its owner drops it.
"""

from libc.stdint cimport int32_t

from tidelog._native.codec_plan cimport Plan
from tidelog._native.wire cimport wire_buffer

# Appends the encoded struct to the buffer.
cdef int encode_struct(Plan plan, object message, wire_buffer *out) except -1

# Appends a whole answer: int32 size, response header (with its empty tagged section when
# flexible_header), body.
cdef int encode_response_frame_into(
    Plan plan, object message, int32_t correlation_id, bint flexible_header, wire_buffer *out
) except -1
