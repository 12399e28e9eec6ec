"""Decoder of messages (contract).

Holds the GIL. Fails with MalformedMessageError, and then leaves the cursor anywhere.
"""

from tidelog._native.codec_plan cimport Plan
from tidelog._native.wire cimport wire_cursor

# Decodes one struct and moves the cursor behind it. Unknown tagged fields are kept or skipped.
cdef object decode_struct(Plan plan, wire_cursor *cursor, bint keep_unknown)
