/* What the load generator is made of: templates, connections, counters (see loadgen_client.h). */
#ifndef TIDELOG_LOADGEN_MODEL_H
#define TIDELOG_LOADGEN_MODEL_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#include "loadgen_check.h"
#include "loadgen_hist.h"

enum { LG_RAW = 0, LG_PRODUCE = 1, LG_FETCH = 2 };
/* Where the next fetch of a slot starts: always at the same offset, behind the last batch received
 * with a jump back at the end, or behind the last batch received for ever (long polls at the end). */
enum { LG_FIXED = 0, LG_STREAM = 1, LG_TAIL = 2 };

enum {
    LG_FINISHED = 0,
    LG_AGAIN = 1, /* the slice is over: look after signals and call again */
    LG_FAILED = -1
};

enum {
    LG_E_NONE = 0,
    LG_E_IO,          /* a: errno */
    LG_E_CLOSED,      /* the broker closed the connection */
    LG_E_SIZE,        /* a: size of the frame */
    LG_E_CORRELATION, /* a: wanted, b: got */
    LG_E_MALFORMED,   /* a: wire status */
    LG_E_BROKER,      /* a: Kafka error code, b: partition */
    LG_E_PARTITIONS,  /* a: wanted, b: got */
    LG_E_OFFSET,      /* a: lowest base offset that can be right, b: got */
    LG_E_BATCH,       /* a: partition; a received record set that is not made of batches */
    LG_E_CRC,         /* a: partition */
    LG_E_EMPTY,       /* nothing to fetch in the whole range */
    LG_E_STALLED,     /* a: seconds without an answer */
    LG_E_MEMORY
};

enum {
    LG_IOVECS = 256,
    LG_SHARED_TAIL = 2048,           /* a tail shorter than this is copied with the head */
    LG_FIRST_CAPACITY = 128 * 1024,  /* receive buffer until a larger frame comes */
    LG_EXACT = 64 * 1024,            /* larger frames are received to their end and no further */
    LG_DISCARD_HEAD = 4096,
    LG_WAIT_MS = 100,
    LG_FENCE = 0x7fffffff            /* correlation id of the request that ends a run with acks=0 */
};

typedef struct {
    size_t position; /* of the batch in the frame */
    size_t length;
    uint32_t record_count;
    int32_t next_sequence; /* -1: not idempotent, nothing to patch */
    uint32_t crc_zero;     /* CRC of the batch with base sequence 0 */
    uint32_t crc_bit[32];  /* what setting bit i of the base sequence changes: CRC is linear */
} lg_batch;

typedef struct {
    size_t position; /* of the fetch offset in the frame */
    int32_t partition;
    int64_t start;
    int64_t end;
    /* When what is read from `start` on was due to be sent (period_ns 0: unknown): batch number m, of
     * batch_records records, at schedule_began + first_due_ns + m * period_ns. */
    uint64_t first_due_ns;
    uint64_t period_ns;
    int64_t batch_records;
} lg_cursor;

typedef struct {
    const uint8_t *frame; /* borrowed; with its length prefix */
    size_t frame_length;
    size_t head_length;
    int32_t expected_partitions;
    uint64_t payload_bytes; /* record bytes that one request carries (produce) */
    uint64_t payload_records;
    lg_batch *batches;
    int batch_count;
    lg_cursor *cursors;
    int cursor_count;
} lg_template;

typedef struct {
    uint64_t requests;
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t record_bytes; /* produce: sent and acknowledged; fetch: of whole batches received */
    uint64_t records;
    uint64_t batches;
    uint64_t empty_responses;
    uint64_t wraps;
    uint64_t throttled_responses;
    uint64_t send_calls;
    uint64_t receive_calls;
    uint64_t elapsed_ns;
    uint64_t user_ns;
    uint64_t system_ns;
    uint64_t unsent; /* due before the end of the run, and never sent */
    int64_t last_base_offset;
} lg_stats;

typedef struct {
    int code;
    int connection;
    uint64_t request;
    int64_t a;
    int64_t b;
} lg_error;

typedef struct {
    int fd;
    lg_template *templates;
    uint32_t template_count;
    const uint8_t *fence; /* borrowed; NULL unless acks=0 */
    size_t fence_length;
    int fence_sent;
    int fenced;
    int watching; /* epoll events asked for */
    uint8_t *heads;
    size_t head_stride;
    uint64_t *sent_at;   /* per slot, ns */
    int64_t *positions;  /* per slot and cursor: next fetch offset */
    uint64_t prepared;   /* requests whose head is ready */
    uint64_t interval_ns; /* between two requests that are due; 0: as soon as there is room */
    uint64_t offset_ns;   /* of the first one, from schedule_began on */
    uint64_t next_due;
    uint64_t submitted;  /* requests wholly given to the kernel */
    uint64_t done;       /* requests answered (acks=0: submitted) */
    size_t submitted_bytes; /* of request number `submitted` */
    int64_t next_base_offset;
    uint32_t fruitless; /* empty answers in succession */
    uint8_t *in;
    size_t in_start;
    size_t in_end;
    size_t in_capacity;
    /* a large answer whose records are thrown away by the kernel (discard) */
    size_t frame_size;   /* 0: none; with the length prefix */
    size_t frame_have;
    size_t walk_at;      /* position of the next batch header in the frame */
    size_t records_at;
    size_t records_end;
    int64_t walk_next_offset;
} lg_connection;

typedef struct {
    int kind;
    int version;
    int flexible; /* RAW: the answer has header version 1 */
    int error_at; /* RAW: position of an error code behind the correlation id, or -1 */
    uint32_t in_flight;
    int acks0;
    int fetch_mode;
    int discard;
    size_t max_response;
    lg_crc_function verify_crc; /* NULL: received batches are believed */
    uint64_t stall_ns;
    uint64_t max_requests; /* of this run */
    uint64_t deadline;     /* of this run, 0: none */
    uint64_t started;      /* requests of this run */
    uint64_t began;
    int scheduled; /* a connection has an interval: then all have */
    uint64_t schedule_began; /* CLOCK_MONOTONIC, ns */
    uint64_t grace_ns; /* after the deadline, for what was due before it */
    int timer_slack_ns; /* what it was before the run */
    uint64_t last_progress;
    struct rusage usage;
    volatile int stop;
    int stopping;
    int epoll_fd;
    lg_connection *connections;
    uint32_t connection_count;
    lg_stats stats;
    lg_error error;
    lg_hist latency;
    lg_hist delays; /* from when a fetched batch was due to be sent until it was here */
} lg_generator;

static inline uint64_t lg_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int lg_fail(lg_generator *g, const lg_connection *c, int code, int64_t a, int64_t b) {
    g->error.code = code;
    g->error.connection = (int)(c - g->connections);
    g->error.request = c->done;
    g->error.a = a;
    g->error.b = b;
    return LG_FAILED;
}

#endif
