/* Loops on one file: reads or writes of one size, and writers that share their syncs. */
#ifndef TIDELOG_PROBE_DISK_H
#define TIDELOG_PROBE_DISK_H

#include <pthread.h>
#include <unistd.h>

#include "probe.h"

enum { PD_SYNC_NONE = 0, PD_SYNC_DATA = 1, PD_SYNC_FILE = 2, PD_MAX_WRITERS = 64, PD_STACK = 128 * 1024 };

typedef struct {
    int fd;
    int writing;
    int random;
    int sync;   /* after each write: PD_SYNC_... */
    int wrap;   /* begin again at the end of the span */
    int timed;  /* each call, or each sync where there is one, goes to `latency` */
    size_t size;
    uint64_t span; /* bytes of the file that it works in; a multiple of size */
    uint64_t at;
    uint64_t state;
    uint8_t *buffer;
    uint64_t calls;
    lg_hist latency;
} pd_loop;

static int pd_sync(int fd, int kind) {
    if (kind == PD_SYNC_NONE) return 0;
    if ((kind == PD_SYNC_DATA ? fdatasync(fd) : fsync(fd)) < 0) return -errno;
    return 0;
}

/* One call. 0 or -errno: a file that is too short is EIO, a device without room ENOSPC. */
static int pd_call(pd_loop *l) {
    uint64_t begin = l->timed ? pb_now() : 0, at = l->at;
    ssize_t done;
    int status;
    if (l->random) at = pb_random(&l->state) % (l->span / l->size) * l->size;
    do {
        done = l->writing ? pwrite(l->fd, l->buffer, l->size, (off_t)at) : pread(l->fd, l->buffer, l->size, (off_t)at);
    } while (done < 0 && errno == EINTR);
    if (done < 0) return -errno;
    if ((size_t)done != l->size) return l->writing ? -ENOSPC : -EIO;
    if (l->sync != PD_SYNC_NONE) {
        if (l->timed) begin = pb_now();
        status = pd_sync(l->fd, l->sync);
        if (status < 0) return status;
    }
    if (l->timed) lg_hist_record(&l->latency, pb_now() - begin);
    l->calls++;
    l->at += l->size;
    if (l->wrap && l->at + l->size > l->span) l->at = 0;
    return 0;
}

/* Goes on until the time or the number of calls is reached. */
static int pd_run_slice(pd_loop *l, uint64_t until_ns, uint64_t max_calls) {
    /* The clock costs a twentieth of a small write: ask it less often. */
    int every = l->size < 65536 && l->sync == PD_SYNC_NONE ? 16 : 1, i;
    for (;;) {
        for (i = 0; i < every; i++) {
            int status;
            if (l->calls >= max_calls) return PB_DONE;
            if (!l->random && !l->wrap && l->at + l->size > l->span) return PB_DONE;
            status = pd_call(l);
            if (status < 0) return status;
        }
        if (pb_now() >= until_ns) return PB_AGAIN;
    }
}

/* ---- group commit --------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    int writers;
    size_t size;
    uint8_t *buffer;
    uint64_t until_ns;
    uint64_t max_writes;
    volatile int stop;
    pthread_mutex_t lock;
    pthread_cond_t synced_more;
    uint64_t started; /* writes that have a place in the file */
    uint64_t written; /* writes that are in the page cache */
    uint64_t synced;  /* of those: how many a sync has covered */
    uint64_t syncs;
    uint64_t ended_ns; /* of the last acknowledged write */
    int syncing;
    int running;
    int error;
    lg_hist latency;
    pthread_t threads[PD_MAX_WRITERS];
} pd_group;

/* Waits until a sync has covered the write `mine`. Whoever finds none on its way makes one for all
 * that is written by then. With the lock held. */
static void pd_group_wait(pd_group *g, uint64_t mine) {
    while (g->synced < mine && !g->error) {
        if (g->syncing) {
            pthread_cond_wait(&g->synced_more, &g->lock);
        } else {
            uint64_t target = g->written;
            int status;
            g->syncing = 1;
            pthread_mutex_unlock(&g->lock);
            status = pd_sync(g->fd, PD_SYNC_DATA);
            pthread_mutex_lock(&g->lock);
            g->syncing = 0;
            g->syncs++;
            if (status < 0) {
                g->error = -status;
            } else if (target > g->synced) {
                g->synced = target;
            }
            pthread_cond_broadcast(&g->synced_more);
        }
    }
}

static void *pd_group_writer(void *argument) {
    pd_group *g = (pd_group *)argument;
    int first = 1; /* everybody writes once, however late it begins */
    pthread_mutex_lock(&g->lock);
    while (!g->stop && !g->error && g->started < g->max_writes) {
        uint64_t begin = pb_now(), number;
        ssize_t done;
        if (begin >= g->until_ns && !first) break;
        first = 0;
        number = g->started++;
        pthread_mutex_unlock(&g->lock);
        do {
            done = pwrite(g->fd, g->buffer, g->size, (off_t)(number * g->size));
        } while (done < 0 && errno == EINTR);
        if (done >= 0 && (size_t)done != g->size) errno = ENOSPC;
        pthread_mutex_lock(&g->lock);
        if (done < 0 || (size_t)done != g->size) {
            g->error = errno;
            pthread_cond_broadcast(&g->synced_more);
            break;
        }
        pd_group_wait(g, ++g->written);
        if (!g->error) {
            g->ended_ns = pb_now();
            lg_hist_record(&g->latency, g->ended_ns - begin);
        }
    }
    g->running--;
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* Starts the writers; how many there are now, or minus an errno when none could be started. */
static int pd_group_start(pd_group *g) {
    pthread_attr_t attributes;
    int i, status = 0;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->synced_more, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PD_STACK);
    pthread_mutex_lock(&g->lock); /* nobody begins before all are there */
    for (i = 0; i < g->writers && status == 0; i++) {
        status = pthread_create(&g->threads[i], &attributes, pd_group_writer, g);
        if (status == 0) g->running++;
    }
    if (status != 0) g->error = status;
    g->writers = g->running;
    pthread_mutex_unlock(&g->lock);
    pthread_attr_destroy(&attributes);
    return g->writers > 0 ? g->writers : -status;
}

static int pd_group_running(pd_group *g) {
    int running;
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&g->lock);
    running = g->running;
    pthread_mutex_unlock(&g->lock);
    return running;
}

static void pd_group_join(pd_group *g) {
    int i;
    for (i = 0; i < g->writers; i++) pthread_join(g->threads[i], NULL);
    pthread_cond_destroy(&g->synced_more);
    pthread_mutex_destroy(&g->lock);
}

#endif
