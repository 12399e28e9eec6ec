/* The floor: the least that a broker must do, as a bare epoll loop.
 *
 * Produce: receive, check the CRC, stamp the base offset, write to the file, answer. Fetch: look the
 * offset up, answer with a header and sendfile. No topics (a partition is its number), no configs,
 * no recovery: it exists to measure how near a real broker comes to what the machine allows, and
 * must never grow into one. It answers Produce 3-12, Fetch 4-12 (one partition per fetch) and
 * ApiVersions 0 (which ends a run with acks=0), and closes the connection on anything else.
 */
#ifndef TIDELOG_LOADGEN_FLOOR_H
#define TIDELOG_LOADGEN_FLOOR_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loadgen_check.h"

enum {
    LF_IN_CAPACITY = 256 * 1024,
    LF_EXACT = 64 * 1024,
    LF_MAX_FRAME = 100 * 1024 * 1024,
    LF_MAX_LOGS = 4096,
    LF_PREALLOCATE = 64 * 1024 * 1024,
    LF_API_PRODUCE = 0,
    LF_API_FETCH = 1,
    LF_API_VERSIONS = 18
};

typedef struct {
    int64_t offset;
    int64_t position;
} lf_entry;

typedef struct {
    int fd; /* -1: not opened yet */
    int64_t size;
    int64_t reserved;
    int64_t next_offset;
    lf_entry *index; /* one entry per batch, in memory */
    size_t index_length;
    size_t index_capacity;
} lf_log;

typedef struct lf_connection {
    int fd;
    int watching;
    uint8_t *in;
    size_t in_start;
    size_t in_end;
    size_t in_capacity;
    wire_buffer out;
    size_t out_sent;
    int region_fd; /* what to send behind `out`; -1: nothing */
    off_t region_at;
    size_t region_left;
    uint8_t trailer[8]; /* what follows the region */
    size_t trailer_length;
    struct lf_connection *next;
    struct lf_connection *previous;
} lf_connection;

typedef struct {
    int listen_fd;
    int epoll_fd;
    char directory[3072];
    int preallocate;
    int check_crc;
    int answer_each; /* send every answer by itself, as a loop without any batching would */
    lg_crc_function crc;
    lf_log *logs;
    lf_connection *connections;
    volatile int stop;
    uint64_t requests;
} lf_server;

/* ---- the log ----------------------------------------------------------------------------------- */

static lf_log *lf_open(lf_server *s, int32_t partition) {
    char path[4096];
    lf_log *log;
    if (partition < 0 || partition >= LF_MAX_LOGS) return NULL;
    log = &s->logs[partition];
    if (log->fd < 0) {
        snprintf(path, sizeof(path), "%s/%d.log", s->directory, partition);
        log->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (log->fd < 0) return NULL;
    }
    return log;
}

static int lf_remember(lf_log *log, int64_t offset, int64_t position) {
    if (log->index_length == log->index_capacity) {
        size_t capacity = log->index_capacity ? log->index_capacity * 2 : 1024;
        lf_entry *index = (lf_entry *)realloc(log->index, capacity * sizeof(lf_entry));
        if (index == NULL) return -1;
        log->index = index;
        log->index_capacity = capacity;
    }
    log->index[log->index_length].offset = offset;
    log->index[log->index_length++].position = position;
    return 0;
}

/* Position of the batch that holds the offset, -1 when there is none. */
static int64_t lf_find(const lf_log *log, int64_t offset) {
    size_t low = 0, high = log->index_length;
    if (offset < 0 || offset >= log->next_offset) return -1;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (log->index[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return log->index[low].position;
}

/* Appends one batch; the base offset, or minus a Kafka error code. */
static int64_t lf_append(lf_server *s, lf_log *log, uint8_t *batch, int32_t length) {
    int64_t base_offset = log->next_offset;
    ssize_t written;
    size_t at = 0;
    if (length < LG_BATCH_OVERHEAD || lg_batch_size(batch) != (size_t)length) return -2;
    if (s->check_crc && s->crc(0, batch + 21, (size_t)length - 21) != wire_load32(batch + 17)) return -2;
    wire_put_int64(batch, base_offset);
    wire_put_int32(batch + 12, 0);
    if (s->preallocate && log->size + length > log->reserved) {
        if (fallocate(log->fd, FALLOC_FL_KEEP_SIZE, log->reserved, LF_PREALLOCATE) == 0) log->reserved += LF_PREALLOCATE;
    }
    while (at < (size_t)length) {
        written = pwrite(log->fd, batch + at, (size_t)length - at, log->size + (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return -56;
        at += (size_t)written;
    }
    if (lf_remember(log, base_offset, log->size) < 0) return -56;
    log->size += length;
    log->next_offset = lg_batch_next_offset(batch);
    return base_offset;
}

/* ---- requests ------------------------------------------------------------------------------------ */

typedef struct {
    wire_cursor at;
    int16_t version;
    int flexible;
    int32_t correlation;
} lf_request;

static int lf_tags(lf_request *r) { return r->flexible ? wire_skip_tagged_fields(&r->at) : WIRE_OK; }

/* Room for `more` bytes of answer at the end of out; NULL when memory is out. */
static uint8_t *lf_out(lf_connection *c, size_t more) { return wire_reserve(&c->out, more); }

static inline uint8_t *lf_put_count(uint8_t *p, int flexible, int32_t count) {
    return flexible ? wire_put_uvarint(p, (uint32_t)count + 1) : wire_put_int32(p, count);
}

static uint8_t *lf_put_name(uint8_t *p, int flexible, const uint8_t *name, int32_t length) {
    p = flexible ? wire_put_uvarint(p, (uint32_t)length + 1) : wire_put_int16(p, (int16_t)length);
    return wire_put_data(p, name, (size_t)length);
}

static int lf_produce_partition(lf_server *s, lf_connection *c, lf_request *r) {
    const uint8_t *records;
    int32_t partition, length;
    int64_t base_offset = -3; /* UNKNOWN_TOPIC_OR_PARTITION */
    lf_log *log;
    uint8_t *p;
    if (wire_int32(&r->at, &partition) || wire_bytes(&r->at, r->flexible, &records, &length) || lf_tags(r)) return -1;
    log = lf_open(s, partition);
    if (log != NULL) base_offset = lf_append(s, log, (uint8_t *)(uintptr_t)records, length);
    p = lf_out(c, 64);
    if (p == NULL) return -1;
    p = wire_put_int32(p, partition);
    p = wire_put_int16(p, base_offset < 0 ? (int16_t)-base_offset : 0);
    p = wire_put_int64(p, base_offset < 0 ? -1 : base_offset);
    p = wire_put_int64(p, -1);
    if (r->version >= 5) p = wire_put_int64(p, 0);
    if (r->version >= 8) {
        p = lf_put_count(p, r->flexible, 0);
        p = r->flexible ? wire_put_uvarint(p, 0) : wire_put_int16(p, -1);
    }
    if (r->flexible) p = wire_put_uvarint(p, 0);
    c->out.length = (size_t)(p - c->out.data);
    return 0;
}

static int lf_produce_topic(lf_server *s, lf_connection *c, lf_request *r) {
    const uint8_t *name;
    int32_t length, partitions;
    uint8_t *p;
    if (wire_string(&r->at, r->flexible, &name, &length) || length < 0) return -1;
    if (wire_array_length(&r->at, r->flexible, 6, &partitions)) return -1;
    p = lf_out(c, (size_t)length + 16);
    if (p == NULL) return -1;
    p = lf_put_name(p, r->flexible, name, length);
    p = lf_put_count(p, r->flexible, partitions);
    c->out.length = (size_t)(p - c->out.data);
    while (partitions-- > 0) {
        if (lf_produce_partition(s, c, r) < 0) return -1;
    }
    if (lf_tags(r)) return -1;
    if (r->flexible) {
        p = lf_out(c, 1);
        if (p == NULL) return -1;
        wire_put_uvarint(p, 0);
        c->out.length++;
    }
    return 0;
}

static int lf_produce(lf_server *s, lf_connection *c, lf_request *r) {
    const uint8_t *text;
    int32_t length, topics;
    int16_t acks;
    size_t begin = c->out.length;
    uint8_t *p;
    if (wire_string(&r->at, r->flexible, &text, &length) || wire_int16(&r->at, &acks) || wire_skip(&r->at, 4)) return -1;
    if (wire_array_length(&r->at, r->flexible, 6, &topics)) return -1;
    p = lf_out(c, 16);
    if (p == NULL) return -1;
    p = wire_put_int32(p + 4, r->correlation);
    if (r->flexible) p = wire_put_uvarint(p, 0);
    p = lf_put_count(p, r->flexible, topics);
    c->out.length = (size_t)(p - c->out.data);
    while (topics-- > 0) {
        if (lf_produce_topic(s, c, r) < 0) return -1;
    }
    p = lf_out(c, 8);
    if (p == NULL) return -1;
    p = wire_put_int32(p, 0);
    if (r->flexible) p = wire_put_uvarint(p, 0);
    c->out.length = (size_t)(p - c->out.data);
    if (acks == 0) {
        c->out.length = begin;
    } else {
        wire_put_int32(c->out.data + begin, (int32_t)(c->out.length - begin - 4));
    }
    return 0;
}

static int lf_fetch_header(lf_connection *c, const lf_request *r, const uint8_t *name, int32_t name_length,
                           int32_t partition, const lf_log *log, int16_t error_code, size_t records) {
    size_t begin = c->out.length;
    uint8_t *t = c->trailer, *p = lf_out(c, (size_t)name_length + 128);
    if (p == NULL) return -1;
    p = wire_put_int32(p + 4, r->correlation);
    if (r->flexible) p = wire_put_uvarint(p, 0);
    p = wire_put_int32(p, 0);
    if (r->version >= 7) p = wire_put_int32(wire_put_int16(p, 0), 0);
    p = lf_put_count(p, r->flexible, 1);
    p = lf_put_name(p, r->flexible, name, name_length);
    p = lf_put_count(p, r->flexible, 1);
    p = wire_put_int32(p, partition);
    p = wire_put_int16(p, error_code);
    p = wire_put_int64(p, log->next_offset);
    p = wire_put_int64(p, log->next_offset);
    if (r->version >= 5) p = wire_put_int64(p, 0);
    p = lf_put_count(p, r->flexible, 0);
    if (r->version >= 11) p = wire_put_int32(p, -1);
    p = lf_put_count(p, r->flexible, (int32_t)records);
    if (r->flexible) t = wire_put_uvarint(wire_put_uvarint(wire_put_uvarint(t, 0), 0), 0);
    c->trailer_length = (size_t)(t - c->trailer);
    c->out.length = (size_t)(p - c->out.data);
    wire_put_int32(c->out.data + begin, (int32_t)(c->out.length - begin - 4 + records + c->trailer_length));
    return 0;
}

static int lf_fetch(lf_server *s, lf_connection *c, lf_request *r) {
    const uint8_t *name;
    int32_t max_bytes = 0x7fffffff, name_length, topics, partitions, partition, partition_max_bytes;
    int64_t fetch_offset, position;
    size_t records = 0;
    int16_t error_code = 0;
    lf_log *log;
    if (wire_skip(&r->at, 12) || wire_int32(&r->at, &max_bytes) || wire_skip(&r->at, 1)) return -1;
    if (r->version >= 7 && wire_skip(&r->at, 8)) return -1;
    if (wire_array_length(&r->at, r->flexible, 6, &topics) || topics != 1) return -1;
    if (wire_string(&r->at, r->flexible, &name, &name_length) || name_length < 0) return -1;
    if (wire_array_length(&r->at, r->flexible, 16, &partitions) || partitions != 1) return -1;
    if (wire_int32(&r->at, &partition) || (r->version >= 9 && wire_skip(&r->at, 4))) return -1;
    if (wire_int64(&r->at, &fetch_offset) || (r->version >= 12 && wire_skip(&r->at, 4))) return -1;
    if ((r->version >= 5 && wire_skip(&r->at, 8)) || wire_int32(&r->at, &partition_max_bytes)) return -1;
    log = lf_open(s, partition);
    if (log == NULL) return -1;
    position = lf_find(log, fetch_offset);
    if (position >= 0) {
        int64_t wanted = max_bytes < partition_max_bytes ? max_bytes : partition_max_bytes;
        records = (size_t)(log->size - position < wanted ? log->size - position : wanted);
    } else if (fetch_offset != log->next_offset) {
        error_code = 1; /* OFFSET_OUT_OF_RANGE */
    }
    if (lf_fetch_header(c, r, name, name_length, partition, log, error_code, records) < 0) return -1;
    c->region_fd = log->fd;
    c->region_at = position;
    c->region_left = records;
    return 0;
}

static int lf_api_versions(lf_connection *c, const lf_request *r) {
    static const int16_t known[3][3] = {{LF_API_PRODUCE, 3, 12}, {LF_API_FETCH, 4, 12}, {LF_API_VERSIONS, 0, 0}};
    uint8_t *p = lf_out(c, 32);
    int i, k;
    if (p == NULL) return -1;
    p = wire_put_int32(p, 4 + 2 + 4 + sizeof(known));
    p = wire_put_int32(p, r->correlation);
    p = wire_put_int16(p, 0);
    p = wire_put_int32(p, 3);
    for (i = 0; i < 3; i++) {
        for (k = 0; k < 3; k++) p = wire_put_int16(p, known[i][k]);
    }
    c->out.length = (size_t)(p - c->out.data);
    return 0;
}

/* One whole request; p points behind the length prefix. */
static int lf_request_take(lf_server *s, lf_connection *c, const uint8_t *p, size_t size) {
    lf_request r;
    const uint8_t *client_id;
    int32_t length;
    int16_t api_key;
    r.at.pos = p;
    r.at.end = p + size;
    r.flexible = 0;
    if (wire_int16(&r.at, &api_key) || wire_int16(&r.at, &r.version) || wire_int32(&r.at, &r.correlation)) return -1;
    if (wire_string(&r.at, 0, &client_id, &length)) return -1;
    s->requests++;
    if (api_key == LF_API_PRODUCE && r.version >= 3 && r.version <= 12) {
        r.flexible = r.version >= 9;
        return lf_tags(&r) ? -1 : lf_produce(s, c, &r);
    }
    if (api_key == LF_API_FETCH && r.version >= 4 && r.version <= 12) {
        r.flexible = r.version >= 12;
        return lf_tags(&r) ? -1 : lf_fetch(s, c, &r);
    }
    if (api_key == LF_API_VERSIONS && r.version == 0) return lf_api_versions(c, &r);
    return -1;
}

/* ---- connections ----------------------------------------------------------------------------------- */

static void lf_close(lf_server *s, lf_connection *c) {
    if (c->previous != NULL) c->previous->next = c->next;
    if (c->next != NULL) c->next->previous = c->previous;
    if (s->connections == c) s->connections = c->next;
    close(c->fd);
    free(c->in);
    free(c->out.data);
    free(c);
}

static void lf_accept(lf_server *s) {
    for (;;) {
        struct epoll_event event;
        int one = 1, fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        lf_connection *c;
        if (fd < 0) return;
        c = (lf_connection *)calloc(1, sizeof(*c));
        if (c != NULL) c->in = (uint8_t *)malloc(LF_IN_CAPACITY);
        event.events = EPOLLIN;
        event.data.ptr = c;
        if (c == NULL || c->in == NULL || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
            if (c != NULL) free(c->in);
            free(c);
            close(fd);
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        c->fd = fd;
        c->watching = EPOLLIN;
        c->in_capacity = LF_IN_CAPACITY;
        c->region_fd = -1;
        c->next = s->connections;
        if (c->next != NULL) c->next->previous = c;
        s->connections = c;
    }
}

static int lf_send_some(lf_connection *c, int flags) {
    while (c->out_sent < c->out.length) {
        ssize_t sent = send(c->fd, c->out.data + c->out_sent, c->out.length - c->out_sent, MSG_NOSIGNAL | flags);
        if (sent < 0) return errno == EAGAIN ? 1 : -1;
        c->out_sent += (size_t)sent;
    }
    c->out.length = c->out_sent = 0;
    return 0;
}

/* Sends what waits. 0: all gone, 1: the socket is full, -1: broken. */
static int lf_flush(lf_connection *c) {
    int status;
    status = lf_send_some(c, c->region_left > 0 ? MSG_MORE : 0);
    if (status != 0 || c->region_fd < 0) return status;
    while (c->region_left > 0) {
        ssize_t sent = sendfile(c->fd, c->region_fd, &c->region_at, c->region_left);
        if (sent < 0) return errno == EAGAIN ? 1 : -1;
        if (sent == 0) return -1;
        c->region_left -= (size_t)sent;
    }
    c->region_fd = -1;
    if (c->trailer_length > 0) {
        uint8_t *p = lf_out(c, c->trailer_length);
        if (p == NULL) return -1;
        memcpy(p, c->trailer, c->trailer_length);
        c->out.length += c->trailer_length;
        c->trailer_length = 0;
    }
    return lf_send_some(c, 0);
}

/* Takes every whole request in the buffer; stops at a fetch until its answer is sent.
 * 0: all taken and answered, 1: the socket is full, -1: broken. */
static int lf_take_all(lf_server *s, lf_connection *c) {
    for (;;) {
        size_t have = c->in_end - c->in_start;
        int32_t length;
        int status;
        if (have < 4) break;
        length = (int32_t)wire_load32(c->in + c->in_start);
        if (length < 10 || length > LF_MAX_FRAME) return -1;
        if (have < (size_t)length + 4) break;
        if (lf_request_take(s, c, c->in + c->in_start + 4, (size_t)length) < 0) return -1;
        c->in_start += (size_t)length + 4;
        if (c->region_fd >= 0 || s->answer_each) {
            status = lf_flush(c);
            if (status != 0) return status;
        }
    }
    return lf_flush(c);
}

static int lf_receive(lf_connection *c) {
    size_t have = c->in_end - c->in_start, room, size = 0;
    ssize_t got;
    if (have == 0) c->in_start = c->in_end = 0;
    if (have >= 4) size = (size_t)wire_load32(c->in + c->in_start) + 4;
    if (c->in_start > 0 && (c->in_end == c->in_capacity || c->in_start + size > c->in_capacity)) {
        memmove(c->in, c->in + c->in_start, have);
        c->in_start = 0;
        c->in_end = have;
    }
    if (size > c->in_capacity) { /* bounded: lf_take_all has checked the length */
        uint8_t *in = (uint8_t *)realloc(c->in, size);
        if (in == NULL) return -1;
        c->in = in;
        c->in_capacity = size;
    }
    room = c->in_capacity - c->in_end;
    if (size > LF_EXACT) room = size - have;
    got = recv(c->fd, c->in + c->in_end, room, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0) return -1;
    c->in_end += (size_t)got;
    return 0;
}

static void lf_turn(lf_server *s, lf_connection *c, uint32_t events) {
    struct epoll_event event;
    int status = 0, wanted;
    if (events & EPOLLOUT) status = lf_flush(c);
    if (status == 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) status = lf_receive(c);
    if (status == 0) status = lf_take_all(s, c);
    if (status < 0) {
        lf_close(s, c);
        return;
    }
    wanted = status == 1 ? EPOLLOUT : EPOLLIN; /* what waits to be sent stops the reading */
    if (wanted != c->watching) {
        event.events = (uint32_t)wanted;
        event.data.ptr = c;
        epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
        c->watching = wanted;
    }
}

/* Runs for at most timeout_ms; 0 or -errno. */
static int lf_run_slice(lf_server *s, uint64_t until_ns, uint64_t (*now)(void)) {
    struct epoll_event events[64];
    while (!s->stop && now() < until_ns) {
        int i, ready = epoll_wait(s->epoll_fd, events, 64, 50);
        if (ready < 0) return errno == EINTR ? 0 : -errno;
        for (i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL) {
                lf_accept(s);
            } else {
                lf_turn(s, (lf_connection *)events[i].data.ptr, events[i].events);
            }
        }
    }
    return 0;
}

/* 0 or -errno; takes the listening socket (non-blocking) as it is and doesn't own it. */
static int lf_start(lf_server *s) {
    struct epoll_event event;
    int32_t i;
    s->logs = (lf_log *)calloc(LF_MAX_LOGS, sizeof(lf_log));
    if (s->logs == NULL) return -ENOMEM;
    for (i = 0; i < LF_MAX_LOGS; i++) s->logs[i].fd = -1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0) return -errno;
    event.events = EPOLLIN;
    event.data.ptr = NULL;
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &event) < 0 ? -errno : 0;
}

static void lf_free(lf_server *s) {
    int32_t i;
    while (s->connections != NULL) lf_close(s, s->connections);
    if (s->logs != NULL) {
        for (i = 0; i < LF_MAX_LOGS; i++) {
            if (s->logs[i].fd >= 0) close(s->logs[i].fd);
            free(s->logs[i].index);
        }
        free(s->logs);
        s->logs = NULL;
    }
    if (s->epoll_fd >= 0) close(s->epoll_fd);
    s->epoll_fd = -1;
}

#endif
