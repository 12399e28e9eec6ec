"""Decoder of messages (contract).

Holds the GIL. Fails with MalformedMessageError, and then leaves the cursor anywhere.
"""

from libc.stdint cimport int64_t

from tidelog._native.codec_plan cimport Plan
from tidelog._native.wire cimport wire_cursor

cdef struct Decoding:
    bint keep_unknown
    int64_t elements_left        # of arrays: each may cost many times its bytes on the wire

# Decodes one struct and moves the cursor behind it. Unknown tagged fields are kept or skipped.
cdef object decode_struct(Plan plan, wire_cursor *cursor, Decoding *options)
