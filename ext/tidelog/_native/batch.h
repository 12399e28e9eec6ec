/* The walk over the records of a record batch v2 (uncompressed, or decompressed).
 *
 * Plain C, no Python, no allocation, never reads outside [p, end); may run without the GIL. The
 * lengths come from a peer: each is compared with the bytes left before the cursor moves by it.
 *
 * Record: varint length of what follows, int8 attributes (unused), varlong timestamp delta, varint
 * offset delta, varint key length (negative: null) and key, varint value length and value, varint
 * header count, then per header varint key length and key, varint value length (negative: null)
 * and value. All varints are zigzag.
 */
#ifndef TIDELOG_BATCH_H
#define TIDELOG_BATCH_H

#include "wire.h"

#define TL_LIKELY(x) __builtin_expect(!!(x), 1)
#define TL_UNLIKELY(x) __builtin_expect(!!(x), 0)

typedef struct {
    int64_t timestamp_delta;
    const uint8_t *key; /* valid when key_size >= 0 */
    const uint8_t *value;
    const uint8_t *headers; /* at the first header; up to the end of the record */
    int32_t offset_delta;
    int32_t key_size; /* negative: null */
    int32_t value_size;
    int32_t headers_count;
} tl_record;

/* Zigzag varints with the one and two byte forms in line: nearly all are that short. */
static inline int tl_varint(wire_cursor *c, int32_t *out) {
    const uint8_t *p = c->pos;
    uint32_t raw;
    if (TL_LIKELY(c->end - p >= 2)) {
        raw = p[0];
        if (raw < 0x80) {
            c->pos = p + 1;
        } else if (p[1] < 0x80) {
            raw = (raw & 0x7f) | ((uint32_t)p[1] << 7);
            c->pos = p + 2;
        } else {
            return wire_varint(c, out);
        }
        *out = (int32_t)(raw >> 1) ^ -(int32_t)(raw & 1);
        return WIRE_OK;
    }
    return wire_varint(c, out);
}

static inline int tl_varlong(wire_cursor *c, int64_t *out) {
    const uint8_t *p = c->pos;
    uint32_t raw;
    if (TL_LIKELY(c->end - p >= 2)) {
        raw = p[0];
        if (raw < 0x80) {
            c->pos = p + 1;
        } else if (p[1] < 0x80) {
            raw = (raw & 0x7f) | ((uint32_t)p[1] << 7);
            c->pos = p + 2;
        } else {
            return wire_varlong(c, out);
        }
        *out = (int32_t)(raw >> 1) ^ -(int32_t)(raw & 1);
        return WIRE_OK;
    }
    return wire_varlong(c, out);
}

/* Length and bytes; a negative length is null and takes no bytes. */
static inline int tl_nullable_bytes(wire_cursor *c, const uint8_t **data, int32_t *size) {
    if (TL_UNLIKELY(tl_varint(c, size) != WIRE_OK)) return WIRE_VARINT;
    *data = c->pos;
    if (*size > 0) {
        if (TL_UNLIKELY(*size > c->end - c->pos)) return WIRE_SHORT;
        c->pos += *size;
    }
    return WIRE_OK;
}

/* One header of a record; its key may not be null. */
static inline int tl_next_header(wire_cursor *c, const uint8_t **key, int32_t *key_size,
                                 const uint8_t **value, int32_t *value_size) {
    if (tl_nullable_bytes(c, key, key_size) != WIRE_OK || *key_size < 0) return WIRE_LENGTH;
    return tl_nullable_bytes(c, value, value_size);
}

/* Reads one record, its headers included, and moves the cursor behind it. WIRE_OK, or a negative
 * status; the cursor is then anywhere within the buffer. */
static inline int tl_next_record(wire_cursor *c, tl_record *r) {
    wire_cursor in;
    int32_t length, i, key_size, value_size;
    const uint8_t *key, *value;
    if (TL_UNLIKELY(tl_varint(c, &length) != WIRE_OK)) return WIRE_VARINT;
    if (TL_UNLIKELY(length < 1 || length > c->end - c->pos)) return WIRE_SHORT;
    in.pos = c->pos + 1; /* the attributes of a record have no meaning yet */
    in.end = c->pos + length;
    if (TL_UNLIKELY(tl_varlong(&in, &r->timestamp_delta) != WIRE_OK)) return WIRE_VARINT;
    if (TL_UNLIKELY(tl_varint(&in, &r->offset_delta) != WIRE_OK)) return WIRE_VARINT;
    if (TL_UNLIKELY(tl_nullable_bytes(&in, &r->key, &r->key_size) != WIRE_OK)) return WIRE_SHORT;
    if (TL_UNLIKELY(tl_nullable_bytes(&in, &r->value, &r->value_size) != WIRE_OK)) return WIRE_SHORT;
    if (TL_UNLIKELY(tl_varint(&in, &r->headers_count) != WIRE_OK)) return WIRE_VARINT;
    r->headers = in.pos;
    if (TL_UNLIKELY(r->headers_count != 0)) {
        /* A header takes two bytes at least. */
        if (r->headers_count < 0 || r->headers_count > (in.end - in.pos) / 2) return WIRE_LENGTH;
        for (i = 0; i < r->headers_count; i++)
            if (tl_next_header(&in, &key, &key_size, &value, &value_size) != WIRE_OK)
                return WIRE_LENGTH;
    }
    if (TL_UNLIKELY(in.pos != in.end)) return WIRE_LENGTH;
    c->pos = in.end;
    return WIRE_OK;
}

/* Java's arithmetic, which wraps: a producer may send any 64 bits as a timestamp. */
static inline int64_t tl_wrapping_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static inline int64_t tl_wrapping_sub(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* Whether a timestamp is outside [now - before, now + after]; -1 ("none") never is. */
static inline int tl_timestamp_out_of_range(int64_t timestamp, int64_t now_ms, int64_t before_max_ms,
                                            int64_t after_max_ms) {
    int64_t age = tl_wrapping_sub(now_ms, timestamp);
    return timestamp != -1 && (age > before_max_ms || tl_wrapping_sub(0, age) > after_max_ms);
}

enum tl_walk_status {
    TL_WALK_OK = 0,
    TL_WALK_FRAMING = 1,      /* record `index` does not parse */
    TL_WALK_OFFSET_DELTA = 2, /* record `index` is not the index-th */
    TL_WALK_LEFT_OVER = 3,    /* bytes behind the last record */
    TL_WALK_RECORDS = 4       /* record errors: see first_key_missing, first_bad_timestamp */
};

typedef struct {
    int64_t base_timestamp;
    int64_t fixed_timestamp; /* of every record, with use_fixed */
    int64_t now_ms, before_max_ms, after_max_ms;
    int32_t count;
    int use_fixed; /* the batch says LogAppendTime */
    int check_timestamps, check_keys;
    /* results */
    int64_t max_timestamp; /* at least -1 */
    int64_t offset_of_max_timestamp;
    int32_t index; /* of the record where a walk ended early */
    int32_t first_key_missing, first_bad_timestamp; /* -1: none */
} tl_walk;

/* Framing errors end the walk; the errors of a record do not, since the answer depends on which
 * kinds there are. */
static inline int tl_walk_records(const uint8_t *records, size_t n, tl_walk *w) {
    wire_cursor c = {records, records + n};
    tl_record r;
    int32_t i;
    w->max_timestamp = -1;
    w->offset_of_max_timestamp = -1;
    w->first_key_missing = w->first_bad_timestamp = -1;
    for (i = 0; i < w->count; i++) {
        int64_t timestamp;
        if (TL_UNLIKELY(tl_next_record(&c, &r) != WIRE_OK)) {
            w->index = i;
            return TL_WALK_FRAMING;
        }
        if (TL_UNLIKELY(r.offset_delta != i)) {
            w->index = i;
            return TL_WALK_OFFSET_DELTA;
        }
        timestamp = w->use_fixed ? w->fixed_timestamp
                                 : tl_wrapping_add(w->base_timestamp, r.timestamp_delta);
        if (timestamp > w->max_timestamp) {
            w->max_timestamp = timestamp;
            w->offset_of_max_timestamp = i;
        }
        if (TL_UNLIKELY(w->check_keys && r.key_size < 0)) {
            /* One error per record: a record without a key is not asked for its timestamp. */
            if (w->first_key_missing < 0) w->first_key_missing = i;
        } else if (TL_UNLIKELY(w->check_timestamps &&
                               tl_timestamp_out_of_range(timestamp, w->now_ms, w->before_max_ms,
                                                         w->after_max_ms))) {
            if (w->first_bad_timestamp < 0) w->first_bad_timestamp = i;
        }
    }
    w->index = i;
    if (TL_UNLIKELY(c.pos != c.end)) return TL_WALK_LEFT_OVER;
    if (TL_UNLIKELY(w->first_key_missing >= 0 || w->first_bad_timestamp >= 0)) return TL_WALK_RECORDS;
    return TL_WALK_OK;
}

#endif
