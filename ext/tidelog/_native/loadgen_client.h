/* The client side of the load generator: pre-encoded requests over raw sockets, without the GIL.
 *
 * A generator has connections; a connection cycles through its templates and keeps at most
 * `in_flight` requests on the wire. Request number n uses template n % template_count and slot
 * n % in_flight. A slot owns a copy of the head of its request (everything up to the last byte that
 * is patched); the rest is sent from the template itself, so that several megabyte requests in
 * flight do not push each other out of the processor's cache.
 *
 * One connection is driven by blocking recv (two system calls per round trip), several by epoll.
 * Sockets stay in blocking mode; where a call must not wait it says MSG_DONTWAIT.
 */
#ifndef TIDELOG_LOADGEN_CLIENT_H
#define TIDELOG_LOADGEN_CLIENT_H

#include "loadgen_receive.h"
#include "loadgen_send.h"

/* ---- running --------------------------------------------------------------------------------------- */

static int lg_in_flight(const lg_generator *g) {
    uint32_t i;
    for (i = 0; i < g->connection_count; i++) {
        if (g->connections[i].done != g->connections[i].prepared) return 1;
    }
    return 0;
}

static int lg_stalled(lg_generator *g, lg_connection *c, uint64_t now) {
    if (g->scheduled && !lg_in_flight(g)) { /* nothing was due */
        g->last_progress = now;
        return 0;
    }
    if (now < g->last_progress + g->stall_ns) return 0; /* now may be older than the last progress */
    return lg_fail(g, c, LG_E_STALLED, (int64_t)(g->stall_ns / 1000000000u), 0);
}

static int lg_overdue(const lg_generator *g) {
    uint32_t i;
    for (i = 0; i < g->connection_count; i++) {
        if (g->connections[i].next_due < g->deadline) return 1;
    }
    return 0;
}

/* At the end of a schedule what was due before it still goes out, or the slowest would be left out. */
static void lg_check_deadline(lg_generator *g, uint64_t now) {
    if (g->stop) g->stopping = 1;
    if (g->deadline == 0 || now < g->deadline) return;
    if (!g->scheduled || now >= g->deadline + g->grace_ns || !lg_overdue(g)) g->stopping = 1;
}

/* One connection: with nothing left to send, recv itself waits (SO_RCVTIMEO). */
static int lg_run_one(lg_generator *g, uint64_t slice_end) {
    lg_connection *c = &g->connections[0];
    for (;;) {
        uint64_t now = lg_now();
        int blocked, got;
        lg_check_deadline(g, now);
        blocked = lg_fill_and_send(g, c, now);
        if (blocked < 0) return LG_FAILED;
        if (lg_connection_idle(g, c)) return LG_FINISHED;
        if (now >= slice_end) return lg_stalled(g, c, now) < 0 ? LG_FAILED : LG_AGAIN;
        if (g->acks0 && !blocked && lg_may_start(g)) {
            got = lg_receive(g, c, MSG_DONTWAIT); /* a broker that refuses closes the connection */
        } else if (blocked) {
            struct pollfd p = {c->fd, POLLIN | POLLOUT, 0};
            poll(&p, 1, LG_WAIT_MS);
            got = (p.revents & (POLLIN | POLLERR | POLLHUP)) ? lg_receive(g, c, MSG_DONTWAIT) : 0;
        } else {
            got = lg_receive(g, c, 0);
        }
        if (got < 0) return LG_FAILED;
        if (got == 0 && !blocked && lg_now() >= slice_end) return lg_stalled(g, c, now) < 0 ? LG_FAILED : LG_AGAIN;
    }
}

static int lg_watch(lg_generator *g, lg_connection *c, int events) {
    struct epoll_event event;
    if (c->watching == events) return 0;
    event.events = (uint32_t)events;
    event.data.u32 = (uint32_t)(c - g->connections);
    if (epoll_ctl(g->epoll_fd, c->watching ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event) < 0) {
        return lg_fail(g, c, LG_E_IO, errno, 0);
    }
    c->watching = events;
    return 0;
}

static int lg_turn(lg_generator *g, lg_connection *c, int events, uint64_t now) {
    int more_to_send;
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        if (lg_receive(g, c, MSG_DONTWAIT) < 0) return LG_FAILED;
    }
    more_to_send = lg_fill_and_send(g, c, now);
    if (more_to_send < 0) return LG_FAILED;
    if (g->acks0 && lg_is_due(g, c, now)) more_to_send = 1;
    return lg_watch(g, c, more_to_send ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int lg_all_idle(const lg_generator *g) {
    uint32_t i;
    for (i = 0; i < g->connection_count; i++) {
        if (!lg_connection_idle(g, &g->connections[i])) return 0;
    }
    return 1;
}

static inline int lg_has_room(const lg_generator *g, const lg_connection *c) {
    return c->prepared - c->done < g->in_flight;
}

/* Waits for an event, or until a connection with room has a request due; ready events as epoll_wait. */
static int lg_wait_scheduled(lg_generator *g, struct epoll_event *events, int size, uint64_t now) {
    struct pollfd p = {g->epoll_fd, POLLIN, 0};
    uint64_t until = now + LG_WAIT_MS * 1000000u;
    struct timespec left = {0, 0};
    uint32_t i;
    if (g->deadline && g->deadline > now && g->deadline < until) until = g->deadline;
    for (i = 0; i < g->connection_count && lg_may_start(g); i++) {
        lg_connection *c = &g->connections[i];
        if (lg_has_room(g, c) && c->next_due < until && (!g->deadline || c->next_due < g->deadline)) until = c->next_due;
    }
    if (until > now) left.tv_nsec = (long)(until - now); /* at most LG_WAIT_MS */
    if (ppoll(&p, 1, &left, NULL) < 0 && errno != EINTR) return -1;
    return epoll_wait(g->epoll_fd, events, size, 0);
}

/* Gives the requests that have become due to their connections. */
static int lg_turn_scheduled(lg_generator *g, uint64_t now) {
    uint32_t i;
    for (i = 0; i < g->connection_count; i++) {
        lg_connection *c = &g->connections[i];
        int wanted = (lg_has_room(g, c) && lg_is_due(g, c, now)) || (g->stopping && c->fence != NULL && !c->fence_sent);
        if (wanted && lg_turn(g, c, 0, now) < 0) return LG_FAILED;
    }
    return 0;
}

static int lg_run_many(lg_generator *g, uint64_t slice_end) {
    struct epoll_event events[64];
    uint64_t now = lg_now();
    uint32_t i;
    int ready, k;
    lg_check_deadline(g, now);
    for (i = 0; i < g->connection_count; i++) { /* a new slice may find connections without a request */
        if (lg_turn(g, &g->connections[i], 0, now) < 0) return LG_FAILED;
    }
    while (!lg_all_idle(g)) {
        if (now >= slice_end) return lg_stalled(g, &g->connections[0], now) < 0 ? LG_FAILED : LG_AGAIN;
        ready = g->scheduled ? lg_wait_scheduled(g, events, 64, now) : epoll_wait(g->epoll_fd, events, 64, LG_WAIT_MS);
        if (ready < 0 && errno != EINTR) return lg_fail(g, &g->connections[0], LG_E_IO, errno, 0);
        now = lg_now();
        lg_check_deadline(g, now);
        for (k = 0; k < ready; k++) {
            if (lg_turn(g, &g->connections[events[k].data.u32], (int)events[k].events, now) < 0) return LG_FAILED;
        }
        if (g->scheduled && lg_turn_scheduled(g, now) < 0) return LG_FAILED;
    }
    return LG_FINISHED;
}

static uint64_t lg_timeval_ns(struct timeval t) {
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

/* start_at: when the schedule begins, 0: now. What is not scheduled begins now in any case. */
static void lg_run_begin(lg_generator *g, uint64_t max_requests, uint64_t duration_ns, uint64_t start_at,
                         uint64_t grace_ns) {
    uint32_t i;
    memset(&g->stats, 0, sizeof(g->stats));
    memset(&g->error, 0, sizeof(g->error));
    lg_hist_clear(&g->latency);
    lg_hist_clear(&g->delays);
    g->stats.last_base_offset = -1;
    g->max_requests = max_requests;
    g->started = 0;
    g->stopping = 0;
    g->stop = 0;
    for (i = 0; i < g->connection_count; i++) g->connections[i].fence_sent = g->connections[i].fenced = 0;
    getrusage(RUSAGE_THREAD, &g->usage);
    g->began = lg_now();
    g->grace_ns = grace_ns;
    g->schedule_began = start_at ? start_at : g->began;
    if (g->scheduled) {
        g->began = g->schedule_began;
        for (i = 0; i < g->connection_count; i++) {
            g->connections[i].next_due = g->schedule_began + g->connections[i].offset_ns;
        }
        g->timer_slack_ns = prctl(PR_GET_TIMERSLACK); /* 50 us: as much as what is to be measured */
        prctl(PR_SET_TIMERSLACK, 1000);
    }
    g->last_progress = g->began;
    g->deadline = duration_ns ? g->began + duration_ns : 0;
}

static int lg_run_slice(lg_generator *g, uint64_t slice_ns) {
    uint64_t slice_end = lg_now() + slice_ns;
    return g->connection_count == 1 && !g->scheduled ? lg_run_one(g, slice_end) : lg_run_many(g, slice_end);
}

static void lg_count_unsent(lg_generator *g) {
    uint64_t now = lg_now(), end = g->deadline && g->deadline < now ? g->deadline : now;
    uint32_t i;
    for (i = 0; i < g->connection_count && g->started < g->max_requests; i++) {
        const lg_connection *c = &g->connections[i];
        if (c->next_due < end) g->stats.unsent += (end - 1 - c->next_due) / c->interval_ns + 1;
    }
}

static void lg_run_end(lg_generator *g) {
    struct rusage after;
    uint64_t now = lg_now();
    g->stats.elapsed_ns = now > g->began ? now - g->began : 0;
    if (g->scheduled) {
        lg_count_unsent(g);
        prctl(PR_SET_TIMERSLACK, g->timer_slack_ns > 0 ? g->timer_slack_ns : 0);
    }
    getrusage(RUSAGE_THREAD, &after);
    g->stats.user_ns = lg_timeval_ns(after.ru_utime) - lg_timeval_ns(g->usage.ru_utime);
    g->stats.system_ns = lg_timeval_ns(after.ru_stime) - lg_timeval_ns(g->usage.ru_stime);
}

/* ---- setting up -------------------------------------------------------------------------------------- */

static void lg_template_free(lg_template *t) {
    free(t->batches);
    free(t->cursors);
}

static void lg_connection_free(lg_connection *c) {
    uint32_t i;
    for (i = 0; i < c->template_count; i++) lg_template_free(&c->templates[i]);
    free(c->templates);
    free(c->heads);
    free(c->sent_at);
    free(c->positions);
    free(c->in);
    memset(c, 0, sizeof(*c));
}

/* What of the frame every slot must have for itself: up to the last byte that is patched. */
static size_t lg_head_length(const lg_template *t) {
    size_t head = 12;
    int i;
    for (i = 0; i < t->batch_count; i++) {
        if (t->batches[i].next_sequence >= 0 && t->batches[i].position + 57 > head) head = t->batches[i].position + 57;
    }
    for (i = 0; i < t->cursor_count; i++) {
        if (t->cursors[i].position + 8 > head) head = t->cursors[i].position + 8;
    }
    return t->frame_length - head < LG_SHARED_TAIL ? t->frame_length : head;
}

/* Spreads the slots of a fetching connection over the range of each cursor. */
static void lg_spread(lg_generator *g, lg_connection *c) {
    const lg_template *t = &c->templates[0];
    uint32_t slot;
    int i;
    for (slot = 0; slot < g->in_flight; slot++) {
        for (i = 0; i < t->cursor_count; i++) {
            const lg_cursor *cursor = &t->cursors[i];
            int64_t range = g->fetch_mode == LG_STREAM ? cursor->end - cursor->start : 0;
            c->positions[slot * (uint32_t)t->cursor_count + (uint32_t)i] =
                cursor->start + range / (int64_t)g->in_flight * (int64_t)slot;
        }
    }
}

/* Allocates what depends on the templates (already stored in c). 0 or LG_FAILED (out of memory). */
static int lg_connection_prepare(lg_generator *g, lg_connection *c) {
    uint32_t i, cursors = (uint32_t)c->templates[0].cursor_count;
    struct timeval timeout = {0, LG_WAIT_MS * 1000};
    for (i = 0; i < c->template_count; i++) {
        lg_template *t = &c->templates[i];
        t->head_length = lg_head_length(t);
        if (t->head_length > c->head_stride) c->head_stride = t->head_length;
    }
    c->heads = (uint8_t *)malloc(g->in_flight * c->head_stride);
    c->sent_at = (uint64_t *)calloc(g->in_flight, sizeof(uint64_t));
    c->positions = (int64_t *)calloc((size_t)g->in_flight * (cursors ? cursors : 1), sizeof(int64_t));
    c->in = (uint8_t *)malloc(LG_FIRST_CAPACITY);
    c->in_capacity = LG_FIRST_CAPACITY;
    if (!c->heads || !c->sent_at || !c->positions || !c->in) return LG_FAILED;
    lg_spread(g, c);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    return 0;
}

#endif
