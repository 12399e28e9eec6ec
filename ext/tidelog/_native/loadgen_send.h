/* Sending: fills slots with requests, patches them, gathers them into few system calls. */
#ifndef TIDELOG_LOADGEN_SEND_H
#define TIDELOG_LOADGEN_SEND_H

#include "loadgen_model.h"

static void lg_batch_prepare(lg_batch *b, const uint8_t *frame, lg_crc_function crc, uint8_t *scratch) {
    uint8_t *batch = scratch;
    int i;
    memcpy(batch, frame + b->position, b->length);
    wire_put_int32(batch + 53, 0);
    b->crc_zero = crc(0, batch + 21, b->length - 21);
    for (i = 0; i < 32; i++) {
        wire_put_int32(batch + 53, (int32_t)(1u << i));
        b->crc_bit[i] = crc(0, batch + 21, b->length - 21) ^ b->crc_zero;
    }
}

static void lg_batch_patch(lg_batch *b, uint8_t *batch) {
    uint32_t crc = b->crc_zero, bits = (uint32_t)b->next_sequence;
    wire_put_int32(batch + 53, b->next_sequence);
    while (bits) {
        crc ^= b->crc_bit[__builtin_ctz(bits)];
        bits &= bits - 1;
    }
    wire_put_int32(batch + 17, (int32_t)crc);
    /* sequences run from 0 to 2^31 - 1 and start again (KIP-98) */
    b->next_sequence = (int32_t)(((uint32_t)b->next_sequence + b->record_count) & 0x7fffffffu);
}

static void lg_prepare(lg_generator *g, lg_connection *c, uint64_t now) {
    uint64_t n = c->prepared++;
    uint32_t slot = (uint32_t)(n % g->in_flight);
    lg_template *t = &c->templates[n % c->template_count];
    uint8_t *head = c->heads + slot * c->head_stride;
    int i;
    if (c->template_count > 1 || n < g->in_flight) memcpy(head, t->frame, t->head_length);
    wire_put_int32(head + 8, (int32_t)(n & 0x3fffffff));
    for (i = 0; i < t->batch_count; i++) {
        if (t->batches[i].next_sequence >= 0) lg_batch_patch(&t->batches[i], head + t->batches[i].position);
    }
    for (i = 0; i < t->cursor_count; i++) {
        wire_put_int64(head + t->cursors[i].position, c->positions[slot * (uint32_t)t->cursor_count + (uint32_t)i]);
    }
    /* From when the request was due: one that had to wait for others counts its wait. */
    c->sent_at[slot] = c->interval_ns ? c->next_due : now;
    c->next_due += c->interval_ns;
    g->started++;
}

static inline int lg_may_start(const lg_generator *g) {
    return !g->stopping && g->started < g->max_requests;
}

/* Whether a further request could go now, were there room for it. */
static inline int lg_is_due(const lg_generator *g, const lg_connection *c, uint64_t now) {
    return lg_may_start(g) && (c->interval_ns == 0 || (c->next_due <= now && (!g->deadline || c->next_due < g->deadline)));
}

static void lg_fill(lg_generator *g, lg_connection *c, uint64_t now) {
    while (c->prepared - c->done < g->in_flight && lg_is_due(g, c, now)) lg_prepare(g, c, now);
}

/* Gathers unsent requests; neighbouring slots without a tail become one piece. */
static int lg_gather(lg_generator *g, lg_connection *c, struct iovec *iov) {
    uint64_t n;
    int count = 0;
    size_t skip = c->submitted_bytes;
    for (n = c->submitted; n < c->prepared && count < LG_IOVECS - 1; n++) {
        const lg_template *t = &c->templates[n % c->template_count];
        uint8_t *head = c->heads + (n % g->in_flight) * c->head_stride;
        if (skip < t->head_length) {
            uint8_t *from = head + skip;
            size_t size = t->head_length - skip;
            if (count > 0 && (uint8_t *)iov[count - 1].iov_base + iov[count - 1].iov_len == from) {
                iov[count - 1].iov_len += size;
            } else {
                iov[count].iov_base = from;
                iov[count++].iov_len = size;
            }
            skip = t->head_length;
        }
        if (skip < t->frame_length) {
            iov[count].iov_base = (void *)(uintptr_t)(t->frame + skip);
            iov[count++].iov_len = t->frame_length - skip;
        }
        skip = 0;
    }
    return count;
}

/* Books `size` bytes that the kernel has taken. With acks=0 a request is done when it is sent. */
static void lg_submitted(lg_generator *g, lg_connection *c, size_t size, uint64_t now) {
    g->stats.bytes_sent += size;
    size += c->submitted_bytes;
    while (c->submitted < c->prepared) {
        const lg_template *t = &c->templates[c->submitted % c->template_count];
        if (size < t->frame_length) break;
        size -= t->frame_length;
        if (g->acks0) {
            lg_hist_record(&g->latency, now - c->sent_at[c->submitted % g->in_flight]);
            g->last_progress = now;
            g->stats.requests++;
            g->stats.batches += (uint64_t)t->expected_partitions;
            g->stats.record_bytes += t->payload_bytes;
            g->stats.records += t->payload_records;
            c->done++;
        }
        c->submitted++;
    }
    c->submitted_bytes = size;
}

/* 1: the socket is full, 0: everything was sent, LG_FAILED. */
static int lg_send(lg_generator *g, lg_connection *c) {
    struct iovec iov[LG_IOVECS];
    struct msghdr message;
    ssize_t sent;
    memset(&message, 0, sizeof(message));
    message.msg_iov = iov;
    while (c->submitted < c->prepared) {
        message.msg_iovlen = (size_t)lg_gather(g, c, iov);
        sent = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        g->stats.send_calls++;
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return 1;
            return lg_fail(g, c, LG_E_IO, errno, 0);
        }
        lg_submitted(g, c, (size_t)sent, g->acks0 ? lg_now() : 0);
    }
    return 0;
}

/* Without answers only a request behind the last one tells that the broker has taken them all. */
static int lg_send_fence(lg_generator *g, lg_connection *c) {
    size_t at = 0;
    while (at < c->fence_length) {
        ssize_t sent = send(c->fd, c->fence + at, c->fence_length - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR && errno != EAGAIN) return lg_fail(g, c, LG_E_IO, errno, 0);
        if (sent > 0) at += (size_t)sent;
        if (sent < 0 && lg_now() > g->last_progress + g->stall_ns) {
            return lg_fail(g, c, LG_E_STALLED, (int64_t)(g->stall_ns / 1000000000u), 0);
        }
    }
    c->fence_sent = 1;
    return 0;
}

static int lg_fill_and_send(lg_generator *g, lg_connection *c, uint64_t now) {
    int blocked = 0, round;
    for (round = 0; round < 16; round++) { /* acks=0 is never in flight: let others have a turn */
        lg_fill(g, c, now);
        blocked = lg_send(g, c);
        if (blocked != 0 || !g->acks0 || !lg_is_due(g, c, now)) break;
    }
    if (blocked == 0 && c->fence != NULL && !c->fence_sent && !lg_may_start(g)) {
        if (lg_send_fence(g, c) < 0) return LG_FAILED;
    }
    return blocked;
}

static inline int lg_connection_idle(const lg_generator *g, const lg_connection *c) {
    return c->done == c->prepared && !lg_may_start(g) && (c->fence == NULL || c->fenced);
}

#endif
