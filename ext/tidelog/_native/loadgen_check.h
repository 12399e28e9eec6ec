/* Checks of Produce and Fetch answers: bounds, partition counts, error codes, batch headers.
 *
 * Pure functions over bytes that a broker sent, so nothing is believed: every read goes through the
 * bounded cursor of wire.h. Produce 3-13 and Fetch 4-18 (from 13 on topics are named by id).
 */
#ifndef TIDELOG_LOADGEN_CHECK_H
#define TIDELOG_LOADGEN_CHECK_H

#include "wire.h"

enum { LG_CONTROL = 0x20 }; /* of a batch's attributes */
enum { LG_BATCH_OVERHEAD = 61, LG_BATCH_HEAD = 27 }; /* 27: up to and with last_offset_delta */

typedef uint32_t (*lg_crc_function)(uint32_t seed, const void *data, size_t n);

typedef struct {
    int32_t partition;
    int16_t error_code;
    int64_t base_offset;
} lg_produced;

typedef struct {
    int32_t partition;
    int16_t error_code;
    int64_t high_watermark;
    int64_t log_start_offset; /* -1 before version 5 */
    int32_t records_length;   /* -1 for null */
} lg_fetched;

/* An iterator over the partitions of an answer; `topics` and `partitions` are those still to come. */
typedef struct {
    wire_cursor at;
    int version;
    int flexible;
    int32_t topics;
    int32_t partitions;
} lg_answer;

static inline int lg_tags(lg_answer *a) {
    return a->flexible ? wire_skip_tagged_fields(&a->at) : WIRE_OK;
}

static inline int lg_topic_head(lg_answer *a) {
    const uint8_t *name;
    int32_t length;
    int status;
    if (a->version >= 13) {
        status = wire_skip(&a->at, 16);
    } else {
        status = wire_string(&a->at, a->flexible, &name, &length);
    }
    if (status == WIRE_OK) status = wire_array_length(&a->at, a->flexible, 6, &a->partitions);
    return status;
}

/* Moves to the next partition, over ends and heads of topics. 1: there is one, 0: none, < 0: malformed. */
static inline int lg_next(lg_answer *a) {
    while (a->partitions <= 0) {
        int status;
        if (a->topics <= 0) return 0;
        if (a->partitions == 0) { /* -1 before the first topic: no topic to end */
            status = lg_tags(a);
            if (status != WIRE_OK) return status;
            a->topics--;
            if (a->topics == 0) return 0;
        }
        status = lg_topic_head(a);
        if (status != WIRE_OK) return status;
        if (a->partitions < 0) return WIRE_LENGTH;
    }
    return 1;
}

/* ---- Produce -------------------------------------------------------------------------------- */

/* `body` starts behind the correlation id. */
static inline int lg_produce_begin(lg_answer *a, const uint8_t *body, size_t size, int version) {
    int status;
    a->at.pos = body;
    a->at.end = body + size;
    a->version = version;
    a->flexible = version >= 9;
    a->partitions = -1;
    status = lg_tags(a);
    if (status == WIRE_OK) status = wire_array_length(&a->at, a->flexible, 3, &a->topics);
    return status;
}

static inline int lg_skip_record_errors(lg_answer *a) {
    const uint8_t *text;
    int32_t count = 0, length;
    int status = wire_array_length(&a->at, a->flexible, 5, &count);
    while (status == WIRE_OK && count-- > 0) {
        status = wire_skip(&a->at, 4);
        if (status == WIRE_OK) status = wire_string(&a->at, a->flexible, &text, &length);
        if (status == WIRE_OK) status = lg_tags(a);
    }
    if (status == WIRE_OK) status = wire_string(&a->at, a->flexible, &text, &length);
    return status;
}

/* 1: *out is the next partition, 0: all were read, < 0: malformed. */
static inline int lg_produce_next(lg_answer *a, lg_produced *out) {
    int status = lg_next(a);
    if (status <= 0) return status;
    status = wire_int32(&a->at, &out->partition);
    if (status == WIRE_OK) status = wire_int16(&a->at, &out->error_code);
    if (status == WIRE_OK) status = wire_int64(&a->at, &out->base_offset);
    if (status == WIRE_OK) status = wire_skip(&a->at, a->version >= 5 ? 16 : 8);
    if (status == WIRE_OK && a->version >= 8) status = lg_skip_record_errors(a);
    if (status == WIRE_OK) status = lg_tags(a);
    a->partitions--;
    return status == WIRE_OK ? 1 : status;
}

/* What follows the topics: throttle time and tags, and then nothing. */
static inline int lg_produce_end(lg_answer *a, int32_t *throttle_time_ms) {
    int status = wire_int32(&a->at, throttle_time_ms);
    if (status == WIRE_OK) status = lg_tags(a);
    if (status == WIRE_OK && wire_left(&a->at) != 0) status = WIRE_LENGTH;
    return status;
}

/* ---- Fetch ---------------------------------------------------------------------------------- */

static inline int lg_fetch_begin(lg_answer *a, const uint8_t *body, size_t size, int version,
                                 int16_t *error_code, int32_t *throttle_time_ms) {
    int status;
    a->at.pos = body;
    a->at.end = body + size;
    a->version = version;
    a->flexible = version >= 12;
    a->partitions = -1;
    *error_code = 0;
    status = lg_tags(a);
    if (status == WIRE_OK) status = wire_int32(&a->at, throttle_time_ms);
    if (status == WIRE_OK && version >= 7) {
        status = wire_int16(&a->at, error_code);
        if (status == WIRE_OK) status = wire_skip(&a->at, 4); /* session id */
    }
    if (status == WIRE_OK) status = wire_array_length(&a->at, a->flexible, 3, &a->topics);
    return status;
}

/* Like lg_produce_next; leaves the cursor at the first byte of the records, which may not be there. */
static inline int lg_fetch_next(lg_answer *a, lg_fetched *out) {
    int32_t aborted = 0;
    int status = lg_next(a);
    if (status <= 0) return status;
    status = wire_int32(&a->at, &out->partition);
    if (status == WIRE_OK) status = wire_int16(&a->at, &out->error_code);
    if (status == WIRE_OK) status = wire_int64(&a->at, &out->high_watermark);
    if (status == WIRE_OK) status = wire_skip(&a->at, 8); /* last stable offset */
    out->log_start_offset = -1;
    if (status == WIRE_OK && a->version >= 5) status = wire_int64(&a->at, &out->log_start_offset);
    if (status == WIRE_OK) status = wire_array_length(&a->at, a->flexible, 16, &aborted);
    while (status == WIRE_OK && aborted-- > 0) {
        status = wire_skip(&a->at, 16);
        if (status == WIRE_OK) status = lg_tags(a);
    }
    if (status == WIRE_OK && a->version >= 11) status = wire_skip(&a->at, 4);
    if (status == WIRE_OK) status = wire_raw_length(&a->at, a->flexible, &out->records_length);
    a->partitions--;
    return status == WIRE_OK ? 1 : status;
}

static inline int lg_fetch_skip_records(lg_answer *a, const lg_fetched *part) {
    int status = WIRE_OK;
    if (part->records_length > 0) status = wire_skip(&a->at, (size_t)part->records_length);
    if (status == WIRE_OK) status = lg_tags(a);
    return status;
}

static inline int lg_fetch_end(lg_answer *a) {
    int status = lg_tags(a);
    if (status == WIRE_OK && wire_left(&a->at) != 0) status = WIRE_LENGTH;
    return status;
}

/* ---- record batches --------------------------------------------------------------------------- */

typedef struct {
    int64_t next_offset; /* behind the last whole batch; untouched when there is none */
    uint64_t batches;
    uint64_t records;
    uint64_t bytes; /* of whole batches */
} lg_walk;

enum { LG_WALK_OK = 0, LG_WALK_BAD_BATCH = -1, LG_WALK_BAD_CRC = -2 };

/* Whole size of the batch whose first 27 bytes stand at p, or 0 when they are no batch of version 2. */
static inline size_t lg_batch_size(const uint8_t *p) {
    int32_t length = (int32_t)wire_load32(p + 8);
    if (length < LG_BATCH_OVERHEAD - 12 || p[16] != 2) return 0;
    return 12 + (size_t)length;
}

static inline int64_t lg_batch_next_offset(const uint8_t *p) {
    return (int64_t)wire_load64(p) + (int32_t)wire_load32(p + 23) + 1;
}

/* Walks the whole batches of a record set; the last may be cut off, as Kafka does at max_bytes.
 * With a crc function every byte is checked (slow: only for validation runs). */
static inline int lg_walk_batches(const uint8_t *p, size_t size, lg_crc_function crc, lg_walk *walk) {
    while (size >= LG_BATCH_OVERHEAD) {
        size_t batch = lg_batch_size(p);
        if (batch == 0) return LG_WALK_BAD_BATCH;
        if (batch > size) break;
        if (crc != NULL && crc(0, p + 21, batch - 21) != wire_load32(p + 17)) return LG_WALK_BAD_CRC;
        walk->next_offset = lg_batch_next_offset(p);
        walk->batches++;
        if ((p[22] & LG_CONTROL) == 0) walk->records += wire_load32(p + 57); /* a marker is no record of a user's */
        walk->bytes += batch;
        p += batch;
        size -= batch;
    }
    return LG_WALK_OK;
}

#endif
