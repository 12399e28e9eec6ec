/* Loops on one connected socket: round trips, and streams from memory or from a file.
 *
 * The socket blocks, with a time limit on each call that is shorter than a slice (SO_RCVTIMEO,
 * SO_SNDTIMEO): so a call costs what it costs a program that waits for nothing else, and signals are
 * still seen. What was sent or received in part when a call's time was up is remembered.
 */
#ifndef TIDELOG_PROBE_NET_H
#define TIDELOG_PROBE_NET_H

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe.h"

enum { PN_PING = 0, PN_ECHO, PN_SEND, PN_SENDFILE, PN_READ_SEND, PN_SINK, PN_MAX_WINDOW = 4096 };

typedef struct {
    int fd;
    int kind;
    int file; /* PN_SENDFILE, PN_READ_SEND */
    size_t size; /* of a message */
    size_t window; /* messages in flight: PN_PING */
    size_t capacity; /* of the buffer */
    uint8_t *buffer;
    uint64_t span; /* bytes of the file, a multiple of size */
    uint64_t at; /* in the file */
    int wrap; /* begin the file again */
    int closing; /* send no more messages; PN_PING then waits for what is on its way */
    int ended; /* the other side has sent everything */
    size_t left; /* of what is being sent */
    size_t filled; /* of which it is a part: PN_PING */
    size_t unread; /* bytes of an answer that is here in part: PN_PING */
    uint64_t in_flight;
    uint64_t messages; /* answered or sent as a whole */
    uint64_t bytes; /* sent, but PN_SINK: received */
    uint64_t sent_ns[PN_MAX_WINDOW]; /* a ring: of each message in flight */
    size_t oldest;
    lg_hist latency;
} pn_stream;

/* 1: nothing could be done now, 0: done in part or whole, or -errno. */
static int pn_again(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 1 : -errno; }

/* Sends what is left of `total` bytes at the beginning of the buffer. */
static int pn_push(pn_stream *s, size_t total) {
    while (s->left > 0) {
        ssize_t sent = send(s->fd, s->buffer + (total - s->left), s->left, MSG_NOSIGNAL);
        if (sent < 0) return pn_again();
        s->left -= (size_t)sent;
        s->bytes += (uint64_t)sent;
    }
    return 0;
}

/* ---- round trips ----------------------------------------------------------------------------------- */

/* Puts new messages in flight until the window is full. */
static int pn_ping_fill(pn_stream *s) {
    size_t i, messages = s->window - s->in_flight;
    uint64_t now = pb_now();
    for (i = 0; i < messages; i++) s->sent_ns[(s->oldest + s->in_flight + i) % PN_MAX_WINDOW] = now;
    s->in_flight += messages;
    s->left = s->filled = messages * s->size;
    return pn_push(s, s->filled);
}

static int pn_ping(pn_stream *s, uint64_t until_ns) {
    for (;;) {
        ssize_t got;
        size_t answered = 0;
        uint64_t now;
        int status = 0;
        if (s->left > 0) {
            status = pn_push(s, s->filled);
        } else if (!s->closing && s->in_flight < s->window) {
            status = pn_ping_fill(s);
        }
        if (status != 0) return status < 0 ? status : PB_AGAIN;
        if (s->in_flight == 0) return PB_DONE;
        got = recv(s->fd, s->buffer + s->window * s->size, s->in_flight * s->size - s->unread, 0);
        now = pb_now();
        if (got < 0) {
            status = pn_again();
            if (status < 0) return status;
            return PB_AGAIN;
        }
        if (got == 0) return -ECONNRESET;
        s->unread += (size_t)got;
        while (s->unread >= s->size) {
            lg_hist_record(&s->latency, now - s->sent_ns[s->oldest]);
            s->oldest = (s->oldest + 1) % PN_MAX_WINDOW;
            s->unread -= s->size;
            answered++;
        }
        s->in_flight -= answered;
        s->messages += answered;
        if (now >= until_ns) return PB_AGAIN;
    }
}

static int pn_echo(pn_stream *s, uint64_t until_ns) {
    for (;;) {
        ssize_t got;
        int status;
        if (s->left == 0) {
            got = recv(s->fd, s->buffer, s->capacity, 0);
            if (got < 0) {
                status = pn_again();
                return status < 0 ? status : PB_AGAIN;
            }
            if (got == 0) {
                s->ended = 1;
                return PB_DONE;
            }
            s->left = s->unread = (size_t)got;
            s->messages++;
        }
        status = pn_push(s, s->unread);
        if (status != 0) return status < 0 ? status : PB_AGAIN;
        if (pb_now() >= until_ns) return PB_AGAIN;
    }
}

/* ---- streams --------------------------------------------------------------------------------------- */

static int pn_sendfile(pn_stream *s) {
    while (s->left > 0) {
        off_t at = (off_t)(s->at + s->size - s->left);
        ssize_t sent = sendfile(s->fd, s->file, &at, s->left);
        if (sent < 0) return pn_again();
        if (sent == 0) return -EIO; /* the file is shorter than it was */
        s->left -= (size_t)sent;
        s->bytes += (uint64_t)sent;
    }
    return 0;
}

static int pn_read(pn_stream *s) {
    ssize_t got;
    do {
        got = pread(s->file, s->buffer, s->size, (off_t)s->at);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    return (size_t)got == s->size ? 0 : -EIO;
}

static int pn_send(pn_stream *s, uint64_t until_ns, uint64_t max_bytes) {
    for (;;) {
        int status;
        if (s->left == 0) {
            if (s->closing || s->bytes >= max_bytes) return PB_DONE;
            if (s->kind != PN_SEND && s->at + s->size > s->span) {
                if (!s->wrap) return PB_DONE;
                s->at = 0;
            }
            if (s->kind == PN_READ_SEND && (status = pn_read(s)) < 0) return status;
            s->left = s->size;
        }
        status = s->kind == PN_SENDFILE ? pn_sendfile(s) : pn_push(s, s->size);
        if (status != 0) return status < 0 ? status : PB_AGAIN;
        s->messages++;
        s->at += s->size;
        if (pb_now() >= until_ns) return PB_AGAIN;
    }
}

static int pn_sink(pn_stream *s, uint64_t until_ns, uint64_t max_bytes) {
    for (;;) {
        ssize_t got = recv(s->fd, s->buffer, s->capacity, 0);
        if (got < 0) {
            int status = pn_again();
            return status < 0 ? status : PB_AGAIN;
        }
        if (got == 0) {
            s->ended = 1;
            return PB_DONE;
        }
        s->bytes += (uint64_t)got;
        s->messages++;
        if (s->bytes > max_bytes) return PB_DONE;
        if (pb_now() >= until_ns) return PB_AGAIN;
    }
}

static int pn_run_slice(pn_stream *s, uint64_t until_ns, uint64_t max_bytes) {
    switch (s->kind) {
        case PN_PING: return pn_ping(s, until_ns);
        case PN_ECHO: return pn_echo(s, until_ns);
        case PN_SINK: return pn_sink(s, until_ns, max_bytes);
        default: return pn_send(s, until_ns, max_bytes);
    }
}

#endif
