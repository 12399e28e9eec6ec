/* Receiving: finds the frames, checks every answer, counts, moves the fetch offsets on. */
#ifndef TIDELOG_LOADGEN_RECEIVE_H
#define TIDELOG_LOADGEN_RECEIVE_H

#include "loadgen_model.h"

static int lg_take_produce(lg_generator *g, lg_connection *c, const lg_template *t,
                           const uint8_t *body, size_t size) {
    lg_answer a;
    lg_produced part = {0, 0, -1};
    int32_t throttle_time_ms = 0, seen = 0;
    int status = lg_produce_begin(&a, body, size, g->version);
    if (status == WIRE_OK) {
        while ((status = lg_produce_next(&a, &part)) == 1) {
            seen++;
            if (part.error_code != 0) return lg_fail(g, c, LG_E_BROKER, part.error_code, part.partition);
        }
    }
    if (status == WIRE_OK) status = lg_produce_end(&a, &throttle_time_ms);
    if (status != WIRE_OK) return lg_fail(g, c, LG_E_MALFORMED, status, 0);
    if (seen != t->expected_partitions) return lg_fail(g, c, LG_E_PARTITIONS, t->expected_partitions, seen);
    if (seen == 1 && c->template_count == 1) { /* what was acknowledged before must lie below */
        if (part.base_offset < c->next_base_offset) {
            return lg_fail(g, c, LG_E_OFFSET, c->next_base_offset, part.base_offset);
        }
        c->next_base_offset = part.base_offset + (int64_t)t->payload_records;
    }
    if (seen > 0 && part.base_offset > g->stats.last_base_offset) g->stats.last_base_offset = part.base_offset;
    if (throttle_time_ms > 0) g->stats.throttled_responses++;
    g->stats.batches += (uint64_t)seen;
    g->stats.record_bytes += t->payload_bytes;
    g->stats.records += t->payload_records;
    return 0;
}

/* Moves a cursor behind what was received, and back to the start at the end of its range. */
static void lg_advance(lg_generator *g, const lg_cursor *cursor, int64_t *position, int64_t next_offset) {
    if (g->fetch_mode == LG_FIXED) return;
    *position = next_offset;
    if (g->fetch_mode == LG_STREAM && next_offset >= cursor->end) {
        *position = cursor->start;
        g->stats.wraps++;
    }
}

/* Books how long after its due time each batch of [from, to) has come. */
static void lg_book_delays(lg_generator *g, const lg_cursor *cursor, int64_t from, int64_t to, uint64_t now) {
    int64_t m = (from - cursor->start) / cursor->batch_records, end = (to - cursor->start) / cursor->batch_records;
    for (; m < end; m++) {
        uint64_t due = g->schedule_began + cursor->first_due_ns + (uint64_t)m * cursor->period_ns;
        lg_hist_record(&g->delays, now > due ? now - due : 0);
    }
}

static int lg_take_records(lg_generator *g, lg_connection *c, const lg_cursor *cursor, int64_t *position,
                           const uint8_t *records, size_t size, uint64_t now) {
    lg_walk walk = {*position, 0, 0, 0};
    int status = lg_walk_batches(records, size, g->verify_crc, &walk);
    if (status == LG_WALK_BAD_CRC) return lg_fail(g, c, LG_E_CRC, cursor->partition, 0);
    if (status != LG_WALK_OK || walk.batches == 0 || walk.next_offset <= *position) {
        return lg_fail(g, c, LG_E_BATCH, cursor->partition, 0);
    }
    g->stats.batches += walk.batches;
    g->stats.records += walk.records;
    g->stats.record_bytes += walk.bytes;
    if (cursor->period_ns) lg_book_delays(g, cursor, *position, walk.next_offset, now);
    lg_advance(g, cursor, position, walk.next_offset);
    return 0;
}

/* The cursor of a partition: answers come in the order of the request, or nearly so. */
static int lg_find_cursor(const lg_template *t, int expected, int32_t partition) {
    int i;
    for (i = 0; i < t->cursor_count; i++) {
        int at = (expected + i) % t->cursor_count;
        if (t->cursors[at].partition == partition) return at;
    }
    return -1;
}

static int lg_take_fetch(lg_generator *g, lg_connection *c, const lg_template *t, int64_t *positions,
                         const uint8_t *body, size_t size, uint64_t now) {
    lg_answer a;
    lg_fetched part;
    int16_t error_code;
    int32_t throttle_time_ms = 0;
    int seen = 0, filled = 0;
    int status = lg_fetch_begin(&a, body, size, g->version, &error_code, &throttle_time_ms);
    if (status == WIRE_OK && error_code != 0) return lg_fail(g, c, LG_E_BROKER, error_code, -1);
    while (status == WIRE_OK && (status = lg_fetch_next(&a, &part)) == 1) {
        const uint8_t *records = a.at.pos;
        int at = lg_find_cursor(t, seen++, part.partition);
        if (part.error_code != 0) return lg_fail(g, c, LG_E_BROKER, part.error_code, part.partition);
        if (at < 0) return lg_fail(g, c, LG_E_PARTITIONS, -1, part.partition);
        status = lg_fetch_skip_records(&a, &part);
        if (status != WIRE_OK || part.records_length <= 0) continue;
        filled++;
        if (lg_take_records(g, c, &t->cursors[at], &positions[at], records, (size_t)part.records_length, now) < 0) {
            return LG_FAILED;
        }
    }
    if (status == WIRE_OK) status = lg_fetch_end(&a);
    if (status != WIRE_OK) return lg_fail(g, c, LG_E_MALFORMED, status, 0);
    if (seen != t->expected_partitions) return lg_fail(g, c, LG_E_PARTITIONS, t->expected_partitions, seen);
    if (throttle_time_ms > 0) g->stats.throttled_responses++;
    if (filled > 0) {
        c->fruitless = 0;
    } else {
        g->stats.empty_responses++;
        if (g->fetch_mode != LG_TAIL && ++c->fruitless > 2 * g->in_flight) return lg_fail(g, c, LG_E_EMPTY, 0, 0);
    }
    return 0;
}

static int lg_take_raw(lg_generator *g, lg_connection *c, const uint8_t *body, size_t size) {
    if (g->error_at >= 0) {
        int16_t error_code;
        if (size < (size_t)g->error_at + 2) return lg_fail(g, c, LG_E_MALFORMED, WIRE_SHORT, 0);
        error_code = (int16_t)wire_load16(body + g->error_at);
        if (error_code != 0) return lg_fail(g, c, LG_E_BROKER, error_code, -1);
    }
    return 0;
}

/* Compares the correlation id at p with that of the oldest request in flight. */
static int lg_check_correlation(lg_generator *g, lg_connection *c, const uint8_t *p) {
    int32_t got = (int32_t)wire_load32(p), wanted = (int32_t)(c->done & 0x3fffffff);
    if (g->acks0) wanted = LG_FENCE;
    if (got != wanted || (g->acks0 ? !c->fence_sent || c->fenced : c->done == c->submitted)) {
        return lg_fail(g, c, LG_E_CORRELATION, wanted, got);
    }
    return 0;
}

static void lg_answered(lg_generator *g, lg_connection *c, size_t size, uint64_t now) {
    lg_hist_record(&g->latency, now - c->sent_at[c->done % g->in_flight]);
    g->stats.requests++;
    g->stats.bytes_received += size;
    c->done++;
}

/* A whole answer of `size` bytes; p points behind the length prefix. */
static int lg_take(lg_generator *g, lg_connection *c, const uint8_t *p, size_t size, uint64_t now) {
    uint32_t slot = (uint32_t)(c->done % g->in_flight);
    const lg_template *t = &c->templates[c->done % c->template_count];
    int status;
    if (lg_check_correlation(g, c, p) < 0) return LG_FAILED;
    if (g->acks0) {
        c->fenced = 1;
        return 0;
    }
    switch (g->kind) {
        case LG_PRODUCE:
            status = lg_take_produce(g, c, t, p + 4, size - 4);
            break;
        case LG_FETCH:
            status = lg_take_fetch(g, c, t, c->positions + slot * (uint32_t)t->cursor_count, p + 4, size - 4, now);
            break;
        default:
            status = lg_take_raw(g, c, p + 4, size - 4);
    }
    if (status == 0) lg_answered(g, c, size + 4, now);
    return status;
}

/* Makes room for a frame of `size` bytes (0: unknown yet) that starts at in_start. */
static int lg_room(lg_generator *g, lg_connection *c, size_t size) {
    size_t wanted = size > LG_FIRST_CAPACITY ? size : LG_FIRST_CAPACITY;
    if (c->in_start == c->in_end) c->in_start = c->in_end = 0;
    if (c->in_start > 0 && (c->in_end == c->in_capacity || c->in_start + size > c->in_capacity)) {
        memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
        c->in_end -= c->in_start;
        c->in_start = 0;
    }
    if (c->in_capacity < wanted) {
        uint8_t *in = (uint8_t *)realloc(c->in, wanted);
        if (in == NULL) return lg_fail(g, c, LG_E_MEMORY, (int64_t)wanted, 0);
        c->in = in;
        c->in_capacity = wanted;
    }
    return 0;
}

/* Size of the frame at in_start with its prefix, 0 when the prefix isn't there yet. */
static int lg_frame_size(lg_generator *g, lg_connection *c, size_t *size) {
    uint32_t length;
    *size = 0;
    if (c->in_end - c->in_start < 4) return 0;
    length = wire_load32(c->in + c->in_start);
    if (length < 4 || length > g->max_response) return lg_fail(g, c, LG_E_SIZE, (int32_t)length, 0);
    *size = (size_t)length + 4;
    return 0;
}

/* recv with the bookkeeping: > 0 bytes, 0: nothing there now, LG_FAILED. */
static ssize_t lg_recv(lg_generator *g, lg_connection *c, void *to, size_t size, int flags) {
    ssize_t got = recv(c->fd, to, size, flags);
    g->stats.receive_calls++;
    if (got > 0) return got;
    if (got == 0) return lg_fail(g, c, LG_E_CLOSED, 0, 0);
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
    return lg_fail(g, c, LG_E_IO, errno, 0);
}

/* Reads the head of a large fetch answer up to its records. 1: known now, 0: more bytes are needed. */
static int lg_discard_begin(lg_generator *g, lg_connection *c, size_t frame_size) {
    const uint8_t *frame = c->in + c->in_start;
    size_t have = c->in_end - c->in_start;
    const lg_template *t = &c->templates[0];
    lg_answer a;
    lg_fetched part;
    int16_t error_code;
    int32_t throttle_time_ms;
    int status;
    if (have < 8) return 0;
    if (lg_check_correlation(g, c, frame + 4) < 0) return LG_FAILED;
    status = lg_fetch_begin(&a, frame + 8, have - 8, g->version, &error_code, &throttle_time_ms);
    if (status == WIRE_OK && error_code != 0) return lg_fail(g, c, LG_E_BROKER, error_code, -1);
    if (status == WIRE_OK) status = lg_fetch_next(&a, &part);
    if (status == WIRE_SHORT && have < LG_DISCARD_HEAD) return 0;
    if (status != 1) return lg_fail(g, c, LG_E_MALFORMED, status, 0);
    if (part.error_code != 0) return lg_fail(g, c, LG_E_BROKER, part.error_code, part.partition);
    if (part.partition != t->cursors[0].partition) return lg_fail(g, c, LG_E_PARTITIONS, -1, part.partition);
    c->records_at = (size_t)(a.at.pos - frame);
    if (part.records_length <= 0 || c->records_at + (size_t)part.records_length > frame_size) {
        return lg_fail(g, c, LG_E_MALFORMED, WIRE_LENGTH, 0);
    }
    c->frame_size = frame_size;
    c->frame_have = have;
    c->walk_at = c->records_at;
    c->records_end = c->records_at + (size_t)part.records_length;
    c->walk_next_offset = c->positions[c->done % g->in_flight];
    return 1;
}

/* Walks over the batch headers that are in the buffer, which holds the frame's bytes from `base` on. */
static int lg_discard_walk(lg_generator *g, lg_connection *c, const uint8_t *bytes, size_t base) {
    while (c->walk_at + LG_BATCH_HEAD <= c->records_end && c->walk_at + LG_BATCH_HEAD <= c->frame_have) {
        const uint8_t *p = bytes + (c->walk_at - base);
        size_t batch = lg_batch_size(p);
        if (batch == 0) return lg_fail(g, c, LG_E_BATCH, c->templates[0].cursors[0].partition, 0);
        if (c->walk_at + batch > c->records_end) { /* cut off at max_bytes */
            c->records_end = c->walk_at;
            break;
        }
        c->walk_next_offset = lg_batch_next_offset(p);
        c->walk_at += batch;
        g->stats.batches++;
        g->stats.record_bytes += batch;
    }
    return 0;
}

static int lg_discard_finish(lg_generator *g, lg_connection *c, uint64_t now) {
    int64_t *position = &c->positions[c->done % g->in_flight];
    if (c->walk_next_offset <= *position) {
        return lg_fail(g, c, LG_E_BATCH, c->templates[0].cursors[0].partition, 0);
    }
    lg_advance(g, &c->templates[0].cursors[0], position, c->walk_next_offset);
    lg_answered(g, c, c->frame_size, now);
    g->last_progress = now;
    c->frame_size = 0;
    c->in_start = c->in_end = 0;
    return 0;
}

/* Receives on within a large answer: batch headers into the buffer, all else to nowhere.
 * 1: go on, 0: nothing there now. */
static int lg_discard_receive(lg_generator *g, lg_connection *c, int flags) {
    ssize_t got;
    int walking = c->walk_at + LG_BATCH_HEAD <= c->records_end;
    if (walking && c->frame_have >= c->walk_at) { /* inside a header: in[0..] holds its first bytes */
        size_t have = c->frame_have - c->walk_at;
        got = lg_recv(g, c, c->in + have, LG_BATCH_HEAD - have, flags);
        if (got <= 0) return (int)got;
        c->frame_have += (size_t)got;
        if (lg_discard_walk(g, c, c->in, c->walk_at) < 0) return LG_FAILED;
    } else {
        size_t target = walking ? c->walk_at : c->frame_size;
        got = lg_recv(g, c, NULL, target - c->frame_have, flags | MSG_TRUNC);
        if (got <= 0) return (int)got;
        c->frame_have += (size_t)got;
    }
    if (c->frame_have == c->frame_size) return lg_discard_finish(g, c, lg_now()) < 0 ? LG_FAILED : 1;
    return 1;
}

/* Switches to discarding when a large fetch answer has begun. 1: switched, 0: not (yet). */
static int lg_discard_enter(lg_generator *g, lg_connection *c, size_t frame_size) {
    size_t base, have;
    int status = lg_discard_begin(g, c, frame_size);
    if (status <= 0) return status;
    if (lg_discard_walk(g, c, c->in + c->in_start, 0) < 0) return LG_FAILED;
    base = c->walk_at;
    have = c->frame_have > base ? c->frame_have - base : 0; /* a header that has only begun */
    if (have > 0 && have < LG_BATCH_HEAD) memmove(c->in, c->in + c->in_start + base, have);
    if (c->frame_have == c->frame_size) return lg_discard_finish(g, c, lg_now()) < 0 ? LG_FAILED : 1;
    return 1;
}

/* One recv, and everything that is whole after it. 1: something came, 0: nothing there now. */
static int lg_receive(lg_generator *g, lg_connection *c, int flags) {
    size_t size, room, have;
    ssize_t got;
    uint64_t now;
    if (c->frame_size > 0) return lg_discard_receive(g, c, flags);
    if (lg_frame_size(g, c, &size) < 0) return LG_FAILED;
    if (lg_room(g, c, g->discard ? 0 : size) < 0) return LG_FAILED;
    have = c->in_end - c->in_start;
    room = c->in_capacity - c->in_end;
    if (g->discard) {
        size_t limit = size > 0 && size <= LG_DISCARD_HEAD ? size : LG_DISCARD_HEAD;
        if (have + room > limit) room = limit - have;
    } else if (size > LG_EXACT) {
        room = size - have;
    }
    got = lg_recv(g, c, c->in + c->in_end, room, flags);
    if (got <= 0) return (int)got;
    c->in_end += (size_t)got;
    now = lg_now();
    for (;;) {
        if (lg_frame_size(g, c, &size) < 0) return LG_FAILED;
        if (size == 0) break;
        if (g->discard && size > LG_DISCARD_HEAD) {
            if (lg_discard_enter(g, c, size) < 0) return LG_FAILED;
            break;
        }
        if (c->in_end - c->in_start < size) break;
        if (lg_take(g, c, c->in + c->in_start + 4, size - 4, now) < 0) return LG_FAILED;
        c->in_start += size;
    }
    g->last_progress = now;
    return 1;
}

#endif
