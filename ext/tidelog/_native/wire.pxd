"""Read cursor, put functions and growing buffer of wire.h (see there for the contract).

There is no wire.pyx: everything is inline C, so a cimport leaves nothing to import at run time.
Every function is nogil. Readers return WIRE_OK (0) or a negative status and leave the cursor where
it was on failure; wire_put_* return the position behind what they wrote, unchecked.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "wire.h" nogil:
    enum:
        WIRE_OK
        WIRE_SHORT
        WIRE_VARINT
        WIRE_LENGTH

    ctypedef struct wire_cursor:
        const uint8_t *pos
        const uint8_t *end

    ctypedef struct wire_buffer:
        uint8_t *data
        size_t length
        size_t capacity

    Py_ssize_t wire_left(const wire_cursor *c) noexcept
    uint16_t wire_load16(const uint8_t *p) noexcept
    uint32_t wire_load32(const uint8_t *p) noexcept
    uint64_t wire_load64(const uint8_t *p) noexcept
    int wire_int8(wire_cursor *c, int8_t *out) noexcept
    int wire_int16(wire_cursor *c, int16_t *out) noexcept
    int wire_uint16(wire_cursor *c, uint16_t *out) noexcept
    int wire_int32(wire_cursor *c, int32_t *out) noexcept
    int wire_uint32(wire_cursor *c, uint32_t *out) noexcept
    int wire_int64(wire_cursor *c, int64_t *out) noexcept
    int wire_float64(wire_cursor *c, double *out) noexcept
    int wire_uvarint(wire_cursor *c, uint32_t *out) noexcept
    int wire_uvarlong(wire_cursor *c, uint64_t *out) noexcept
    int wire_varint(wire_cursor *c, int32_t *out) noexcept
    int wire_varlong(wire_cursor *c, int64_t *out) noexcept
    int wire_skip(wire_cursor *c, size_t size) noexcept
    int wire_raw_length(wire_cursor *c, bint compact, int32_t *out) noexcept
    int wire_string(
        wire_cursor *c, bint compact, const uint8_t **data, int32_t *length
    ) noexcept
    int wire_bytes(
        wire_cursor *c, bint compact, const uint8_t **data, int32_t *length
    ) noexcept
    int wire_array_length(
        wire_cursor *c, bint compact, size_t min_element_size, int32_t *count
    ) noexcept
    int wire_tagged_field(
        wire_cursor *c, uint32_t *tag, const uint8_t **data, uint32_t *size
    ) noexcept
    int wire_skip_tagged_fields(wire_cursor *c) noexcept

    uint8_t *wire_put_int8(uint8_t *p, int8_t value) noexcept
    uint8_t *wire_put_int16(uint8_t *p, int16_t value) noexcept
    uint8_t *wire_put_int32(uint8_t *p, int32_t value) noexcept
    uint8_t *wire_put_int64(uint8_t *p, int64_t value) noexcept
    uint8_t *wire_put_float64(uint8_t *p, double value) noexcept
    int wire_uvarint_size(uint32_t value) noexcept
    uint8_t *wire_put_uvarint(uint8_t *p, uint32_t value) noexcept
    uint8_t *wire_put_uvarlong(uint8_t *p, uint64_t value) noexcept
    uint8_t *wire_put_varint(uint8_t *p, int32_t value) noexcept
    uint8_t *wire_put_varlong(uint8_t *p, int64_t value) noexcept
    uint8_t *wire_put_data(uint8_t *p, const void *data, size_t size) noexcept
    uint8_t *wire_reserve(wire_buffer *b, size_t more) noexcept
