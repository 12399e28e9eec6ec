/* Bounds-checked reading and unchecked writing of Kafka's wire primitives.
 *
 * Shared by the table-driven codec and the native hot lane. Plain C, no Python, no allocation but
 * in wire_buffer; every function may run without the GIL.
 *
 * Readers take a cursor, leave it untouched on failure and return WIRE_OK or one of the negative
 * codes below. Nothing is ever read at or behind cursor->end. Lengths that come from the peer are
 * compared with the bytes left before they are returned, so a caller may allocate by them.
 * Writers (wire_put_*) return the position behind what they wrote; the caller has reserved room.
 */
#ifndef TIDELOG_WIRE_H
#define TIDELOG_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum wire_status {
    WIRE_OK = 0,
    WIRE_SHORT = -1,   /* the buffer ends before the value does */
    WIRE_VARINT = -2,  /* a varint longer than its type */
    WIRE_LENGTH = -3   /* a length below -1, or one beyond Kafka's limit for the type */
};

typedef struct {
    const uint8_t *pos;
    const uint8_t *end;
} wire_cursor;

static inline ptrdiff_t wire_left(const wire_cursor *c) { return c->end - c->pos; }

/* ---- fixed width, big-endian ------------------------------------------------------------- */

static inline uint16_t wire_load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}

static inline uint32_t wire_load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static inline uint64_t wire_load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static inline int wire_int8(wire_cursor *c, int8_t *out) {
    if (wire_left(c) < 1) return WIRE_SHORT;
    *out = (int8_t)*c->pos++;
    return WIRE_OK;
}

static inline int wire_int16(wire_cursor *c, int16_t *out) {
    if (wire_left(c) < 2) return WIRE_SHORT;
    *out = (int16_t)wire_load16(c->pos);
    c->pos += 2;
    return WIRE_OK;
}

static inline int wire_uint16(wire_cursor *c, uint16_t *out) {
    if (wire_left(c) < 2) return WIRE_SHORT;
    *out = wire_load16(c->pos);
    c->pos += 2;
    return WIRE_OK;
}

static inline int wire_int32(wire_cursor *c, int32_t *out) {
    if (wire_left(c) < 4) return WIRE_SHORT;
    *out = (int32_t)wire_load32(c->pos);
    c->pos += 4;
    return WIRE_OK;
}

static inline int wire_uint32(wire_cursor *c, uint32_t *out) {
    if (wire_left(c) < 4) return WIRE_SHORT;
    *out = wire_load32(c->pos);
    c->pos += 4;
    return WIRE_OK;
}

static inline int wire_int64(wire_cursor *c, int64_t *out) {
    if (wire_left(c) < 8) return WIRE_SHORT;
    *out = (int64_t)wire_load64(c->pos);
    c->pos += 8;
    return WIRE_OK;
}

static inline int wire_float64(wire_cursor *c, double *out) {
    uint64_t bits;
    if (wire_left(c) < 8) return WIRE_SHORT;
    bits = wire_load64(c->pos);
    memcpy(out, &bits, 8);
    c->pos += 8;
    return WIRE_OK;
}

/* ---- varints ----------------------------------------------------------------------------- */

/* Unsigned, at most 32 bits in at most 5 bytes. */
static inline int wire_uvarint(wire_cursor *c, uint32_t *out) {
    const uint8_t *p = c->pos;
    uint32_t value = 0;
    int shift;
    if (p < c->end && *p < 0x80) { /* nearly every length of the protocol */
        *out = *p;
        c->pos = p + 1;
        return WIRE_OK;
    }
    for (shift = 0; shift < 35; shift += 7) {
        uint8_t byte;
        if (p >= c->end) return WIRE_SHORT;
        byte = *p++;
        if (shift == 28 && byte > 0x0f) return WIRE_VARINT;
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            c->pos = p;
            return WIRE_OK;
        }
    }
    return WIRE_VARINT;
}

/* Unsigned, at most 64 bits in at most 10 bytes. */
static inline int wire_uvarlong(wire_cursor *c, uint64_t *out) {
    const uint8_t *p = c->pos;
    uint64_t value = 0;
    int shift;
    for (shift = 0; shift < 70; shift += 7) {
        uint8_t byte;
        if (p >= c->end) return WIRE_SHORT;
        byte = *p++;
        if (shift == 63 && byte > 0x01) return WIRE_VARINT;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            c->pos = p;
            return WIRE_OK;
        }
    }
    return WIRE_VARINT;
}

/* Zigzag, 32 bits (record framing). */
static inline int wire_varint(wire_cursor *c, int32_t *out) {
    uint32_t raw;
    int status = wire_uvarint(c, &raw);
    if (status == WIRE_OK) *out = (int32_t)(raw >> 1) ^ -(int32_t)(raw & 1);
    return status;
}

/* Zigzag, 64 bits (timestamp deltas). */
static inline int wire_varlong(wire_cursor *c, int64_t *out) {
    uint64_t raw;
    int status = wire_uvarlong(c, &raw);
    if (status == WIRE_OK) *out = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
    return status;
}

/* ---- lengths, strings, bytes, arrays ------------------------------------------------------ */

static inline int wire_skip(wire_cursor *c, size_t size) {
    if ((size_t)wire_left(c) < size) return WIRE_SHORT;
    c->pos += size;
    return WIRE_OK;
}

/* int32 length, or uvarint(length + 1) when compact; null is -1. Not yet compared with what is left. */
static inline int wire_raw_length(wire_cursor *c, int compact, int32_t *out) {
    if (compact) {
        wire_cursor saved = *c;
        uint32_t raw;
        int status = wire_uvarint(c, &raw);
        if (status != WIRE_OK) return status;
        if (raw > 0x80000000u) {
            *c = saved;
            return WIRE_LENGTH;
        }
        *out = (int32_t)(raw - 1u);
    } else {
        if (wire_left(c) < 4) return WIRE_SHORT;
        if ((int32_t)wire_load32(c->pos) < -1) return WIRE_LENGTH;
        *out = (int32_t)wire_load32(c->pos);
        c->pos += 4;
    }
    return WIRE_OK;
}

/* A string: *data points into the buffer, *length is -1 for null. Kafka allows at most 32767 bytes,
 * in the compact form too. */
static inline int wire_string(wire_cursor *c, int compact, const uint8_t **data, int32_t *length) {
    wire_cursor saved = *c;
    int32_t n;
    if (compact) {
        int status = wire_raw_length(c, 1, &n);
        if (status != WIRE_OK) return status;
    } else {
        int16_t n16;
        if (wire_int16(c, &n16) != WIRE_OK) return WIRE_SHORT;
        n = n16;
    }
    if (n < -1 || n > 0x7fff) {
        *c = saved;
        return WIRE_LENGTH;
    }
    if (n > wire_left(c)) {
        *c = saved;
        return WIRE_SHORT;
    }
    *data = c->pos;
    *length = n;
    if (n > 0) c->pos += n;
    return WIRE_OK;
}

/* Bytes or records: *data points into the buffer, *length is -1 for null. */
static inline int wire_bytes(wire_cursor *c, int compact, const uint8_t **data, int32_t *length) {
    wire_cursor saved = *c;
    int32_t n;
    int status = wire_raw_length(c, compact, &n);
    if (status != WIRE_OK) return status;
    if (n > wire_left(c)) {
        *c = saved;
        return WIRE_SHORT;
    }
    *data = c->pos;
    *length = n;
    if (n > 0) c->pos += n;
    return WIRE_OK;
}

/* Element count of an array, -1 for null. It is refused when the bytes left cannot hold that many
 * elements of min_element_size (at least 1) bytes each. */
static inline int wire_array_length(wire_cursor *c, int compact, size_t min_element_size,
                                    int32_t *count) {
    wire_cursor saved = *c;
    int status = wire_raw_length(c, compact, count);
    if (status != WIRE_OK) return status;
    if (*count > 0 && (size_t)*count > (size_t)wire_left(c) / min_element_size) {
        *c = saved;
        return WIRE_SHORT;
    }
    return WIRE_OK;
}

/* One tagged field: its tag, and its data as a slice of the buffer. */
static inline int wire_tagged_field(wire_cursor *c, uint32_t *tag, const uint8_t **data,
                                    uint32_t *size) {
    wire_cursor saved = *c;
    int status = wire_uvarint(c, tag);
    if (status == WIRE_OK) status = wire_uvarint(c, size);
    if (status == WIRE_OK && *size > (size_t)wire_left(c)) status = WIRE_SHORT;
    if (status != WIRE_OK) {
        *c = saved;
        return status;
    }
    *data = c->pos;
    c->pos += *size;
    return WIRE_OK;
}

/* Skips a whole tagged section (count and fields). */
static inline int wire_skip_tagged_fields(wire_cursor *c) {
    wire_cursor saved = *c;
    uint32_t count, tag, size;
    const uint8_t *data;
    int status = wire_uvarint(c, &count);
    while (status == WIRE_OK && count-- > 0) status = wire_tagged_field(c, &tag, &data, &size);
    if (status != WIRE_OK) *c = saved;
    return status;
}

/* ---- writing ------------------------------------------------------------------------------ */

static inline uint8_t *wire_put_int8(uint8_t *p, int8_t value) {
    *p = (uint8_t)value;
    return p + 1;
}

static inline uint8_t *wire_put_int16(uint8_t *p, int16_t value) {
    uint16_t v = __builtin_bswap16((uint16_t)value);
    memcpy(p, &v, 2);
    return p + 2;
}

static inline uint8_t *wire_put_int32(uint8_t *p, int32_t value) {
    uint32_t v = __builtin_bswap32((uint32_t)value);
    memcpy(p, &v, 4);
    return p + 4;
}

static inline uint8_t *wire_put_int64(uint8_t *p, int64_t value) {
    uint64_t v = __builtin_bswap64((uint64_t)value);
    memcpy(p, &v, 8);
    return p + 8;
}

static inline uint8_t *wire_put_float64(uint8_t *p, double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return wire_put_int64(p, (int64_t)bits);
}

static inline int wire_uvarint_size(uint32_t value) {
    int size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

/* At most 5 bytes. */
static inline uint8_t *wire_put_uvarint(uint8_t *p, uint32_t value) {
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

/* At most 10 bytes. */
static inline uint8_t *wire_put_uvarlong(uint8_t *p, uint64_t value) {
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

static inline uint8_t *wire_put_varint(uint8_t *p, int32_t value) {
    return wire_put_uvarint(p, ((uint32_t)value << 1) ^ (uint32_t)(value >> 31));
}

static inline uint8_t *wire_put_varlong(uint8_t *p, int64_t value) {
    return wire_put_uvarlong(p, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

static inline uint8_t *wire_put_data(uint8_t *p, const void *data, size_t size) {
    memcpy(p, data, size);
    return p + size;
}

/* ---- growing buffer ------------------------------------------------------------------------ */

typedef struct {
    uint8_t *data; /* malloc'ed, or NULL while capacity is 0; its owner calls free() */
    size_t length;
    size_t capacity;
} wire_buffer;

/* Makes room for `more` bytes behind length. Returns where they go, or NULL when memory is out
 * (the buffer is then unchanged). */
static inline uint8_t *wire_reserve(wire_buffer *b, size_t more) {
    if (b->capacity - b->length < more) {
        size_t capacity = b->capacity < 256 ? 512 : b->capacity * 2;
        uint8_t *data;
        if (more > SIZE_MAX / 4 - b->length) return NULL;
        if (capacity < b->length + more) capacity = b->length + more;
        data = (uint8_t *)realloc(b->data, capacity);
        if (data == NULL) return NULL;
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->length;
}

#endif
