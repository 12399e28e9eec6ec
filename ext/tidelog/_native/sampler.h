/* A sampling profiler inside the process that it looks at: timers interrupt the threads, a signal handler
 * notes where each was. Neither perf nor eBPF nor another process is needed.
 *
 * The handler is async-signal-safe: it takes no lock, allocates nothing, and follows no pointer that it
 * has not checked (unwind.h, python_frames.h). It writes into an arena that was mapped before; when that
 * is full, samples are counted as lost. One sampler runs at a time.
 *
 * The thread that starts it is sampled by the wall clock: a timer by CPU time comes at ticks of the kernel
 * only (4 ms at 250 Hz), and does not see a thread that waits. Whether it was asleep in a system call is
 * told by how the signal ended that. The others are sampled by their CPU time, so that helper threads
 * that wait are not woken up.
 */
#ifndef TIDELOG_SAMPLER_H
#define TIDELOG_SAMPLER_H

#include "python_frames.h"
#include "unwind.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    SA_THREADS_MAX = 32,
    SA_NATIVE_MAX = 64,  /* functions of one sample */
    SA_PYTHON_MAX = 64,
    SA_SIGNAL = SIGPROF,
};

/* Flags of a sample. */
enum {
    SA_ASLEEP = 1,   /* in a system call that the signal ended */
    SA_CUT_NATIVE = 2, /* there are more native callers than are known */
    SA_CUT_PYTHON = 4,
    SA_WAITING = 8,  /* it had no CPU: it waited for one, or in a system call that signals don't end */
};

/* A thread that runs gets its signal within microseconds. */
enum { SA_LATE_NS = 50000 };

/* sa_start() */
enum { SA_OK = 0, SA_BUSY = -1, SA_FOREIGN_HANDLER = -2, SA_NO_TIMER = -3, SA_NO_STACK = -4, SA_PROCESSOR = -5 };

typedef struct {
    uintptr_t tstate;
    uintptr_t stack_low, stack_high;
    pid_t tid;
    int wall;
    int armed;
    timer_t timer;
    clockid_t cpu_clock;
    int64_t cpu_ns; /* at the start, then what was used */
    int64_t since_ns;                   /* the wall clock's first tick is a period later */
    int64_t seen_wall_ns, seen_cpu_ns;  /* at the last sample */
    int64_t samples, weight, asleep, waiting, lost, cut, handler_ns;
} sa_thread;

typedef struct sa_sampler {
    uw_tables tables;
    pf_table *python;
    uint64_t *arena; /* samples: a head (see sa_head), native functions, Python frames */
    size_t words_max;
    _Atomic size_t words; /* may end beyond the arena: then samples are lost */
    sa_thread threads[SA_THREADS_MAX];
    int thread_count;
    int threads_left_out;
    int generation;
    int started;
    int64_t period_ns;
    int64_t wall_ns; /* at the start, then how long it ran */
} sa_sampler;

static _Atomic(sa_sampler *) sa_current;
static atomic_int sa_inside; /* handlers that run now */
static int sa_generation;

static inline uint64_t sa_head(int native, int python, int thread, int flags, uint32_t weight) {
    return (uint64_t)native | (uint64_t)python << 8 | (uint64_t)thread << 16 | (uint64_t)flags << 24 |
           (uint64_t)weight << 32;
}

static int64_t sa_clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) return 0;
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* -- the handler ------------------------------------------------------------------------------------------ */

#ifdef __x86_64__
static void sa_registers(const ucontext_t *context, uw_place *place) {
    place->pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    place->sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    place->bp = (uintptr_t)context->uc_mcontext.gregs[REG_RBP];
}

/* A call that the kernel begins again after the signal has its instruction in front of it; one that it does
 * not begin again (epoll_wait) has failed with EINTR right behind it. */
static int sa_was_asleep(const uw_tables *t, const ucontext_t *context) {
    uintptr_t pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    const uw_module *m = uw_find_module(t, pc);
    const uint8_t *code = (const uint8_t *)pc;
    if (!m || pc - m->low < 2 || m->high - pc < 2) return 0;
    if (context->uc_mcontext.gregs[REG_RAX] == -EINTR && code[-2] == 0x0f && code[-1] == 0x05) return 1;
    return code[0] == 0x0f && code[1] == 0x05;
}
#define SA_PROCESSOR_KNOWN 1
#else
/* Never called: it does not start. */
static void sa_registers(const ucontext_t *context, uw_place *place) {
    (void)context;
    memset(place, 0, sizeof(*place));
}

static int sa_was_asleep(const uw_tables *t, const ucontext_t *context) {
    (void)t, (void)context;
    return 0;
}
#define SA_PROCESSOR_KNOWN 0
#endif

/* Whether the thread had no CPU when its tick came. Else a signal is late because of a system call that
 * has to end first, and that is time of its own. On a machine with too few CPUs the place where a thread
 * loses its own (send(), which wakes the peer up) would otherwise seem to take all the time. */
static int sa_was_waiting(sa_sampler *s, sa_thread *thread, int64_t now, uint32_t weight) {
    int64_t cpu = sa_clock_ns(CLOCK_THREAD_CPUTIME_ID), off, late;
    off = (now - thread->seen_wall_ns) - (cpu - thread->seen_cpu_ns);
    late = (now - thread->since_ns) % s->period_ns + (int64_t)(weight - 1) * s->period_ns;
    thread->seen_wall_ns = now;
    thread->seen_cpu_ns = cpu;
    return late > SA_LATE_NS && off > late / 2;
}

static void sa_take(sa_sampler *s, sa_thread *thread, const siginfo_t *info, const ucontext_t *context) {
    uint64_t native[SA_NATIVE_MAX], python[SA_PYTHON_MAX];
    int64_t began = sa_clock_ns(CLOCK_MONOTONIC);
    int native_count, python_count, complete, flags = 0;
    /* Ticks for which the signal had to wait: a system call that is not interrupted is worth them all. */
    uint32_t weight = 1 + (uint32_t)(info->si_overrun > 0 ? info->si_overrun : 0);
    size_t words, at;
    uw_place place;
    sa_registers(context, &place);
    place.stack_high = thread->stack_high;
    if (place.sp < thread->stack_low || place.sp >= thread->stack_high) {
        native[0] = place.pc;
        native_count = 1;
        flags |= SA_CUT_NATIVE;
    } else {
        native_count = uw_walk(&s->tables, place, native, SA_NATIVE_MAX, &complete);
        if (!complete) flags |= SA_CUT_NATIVE;
    }
    python_count = pf_walk(s->python, thread->tstate, python, SA_PYTHON_MAX, &complete);
    if (!complete) flags |= SA_CUT_PYTHON;
    if (thread->wall) {
        int waiting = sa_was_waiting(s, thread, began, weight);
        flags |= sa_was_asleep(&s->tables, context) ? SA_ASLEEP : waiting ? SA_WAITING : 0;
    }
    words = 1 + (size_t)native_count + (size_t)python_count;
    at = atomic_fetch_add(&s->words, words);
    thread->samples++;
    thread->weight += weight;
    if (flags & SA_ASLEEP) thread->asleep += weight;
    if (flags & SA_WAITING) thread->waiting += weight;
    if (flags & (SA_CUT_NATIVE | SA_CUT_PYTHON)) thread->cut++;
    if (at + words > s->words_max) {
        thread->lost++;
        /* What was reserved and is not written must not be read as a sample. */
        if (at < s->words_max) s->arena[at] = 0;
    } else {
        s->arena[at] = sa_head(native_count, python_count, (int)(thread - s->threads), flags, weight);
        memcpy(s->arena + at + 1, native, sizeof(uint64_t) * (size_t)native_count);
        memcpy(s->arena + at + 1 + native_count, python, sizeof(uint64_t) * (size_t)python_count);
    }
    thread->handler_ns += sa_clock_ns(CLOCK_MONOTONIC) - began;
}

static void sa_on_signal(int number, siginfo_t *info, void *context) {
    int saved = errno;
    sa_sampler *s;
    (void)number;
    atomic_fetch_add(&sa_inside, 1);
    s = atomic_load(&sa_current);
    if (s && info->si_code == SI_TIMER && info->si_value.sival_int / SA_THREADS_MAX == s->generation)
        sa_take(s, &s->threads[info->si_value.sival_int % SA_THREADS_MAX], info, (const ucontext_t *)context);
    atomic_fetch_sub(&sa_inside, 1);
    errno = saved;
}

/* -- starting and stopping (under the GIL) ------------------------------------------------------------------ */

/* The handler stays for good: a signal that is on its way when sampling ends would otherwise end the
 * process. */
static int sa_install(void) {
    struct sigaction action, old;
    if (sigaction(SA_SIGNAL, NULL, &old) != 0) return SA_FOREIGN_HANDLER;
    if ((old.sa_flags & SA_SIGINFO) && old.sa_sigaction == sa_on_signal) return SA_OK;
    if ((old.sa_flags & SA_SIGINFO) || (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN))
        return SA_FOREIGN_HANDLER;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = sa_on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigfillset(&action.sa_mask);
    return sigaction(SA_SIGNAL, &action, NULL) == 0 ? SA_OK : SA_FOREIGN_HANDLER;
}

static int sa_add_thread(sa_sampler *s, PyThreadState *tstate, int wall) {
    sa_thread *thread = &s->threads[s->thread_count];
    pthread_t id = (pthread_t)tstate->thread_id;
    pthread_attr_t attributes;
    void *low;
    size_t size;
    memset(thread, 0, sizeof(*thread));
    thread->tstate = (uintptr_t)tstate;
    thread->tid = (pid_t)tstate->native_thread_id;
    thread->wall = wall;
    if (pthread_getcpuclockid(id, &thread->cpu_clock) != 0 || pthread_getattr_np(id, &attributes) != 0)
        return SA_NO_STACK;
    if (pthread_attr_getstack(&attributes, &low, &size) != 0) size = 0;
    pthread_attr_destroy(&attributes);
    if (size == 0) return SA_NO_STACK;
    thread->stack_low = (uintptr_t)low;
    thread->stack_high = (uintptr_t)low + size;
    s->thread_count++;
    return SA_OK;
}

static int sa_arm(sa_sampler *s, int index, int64_t period_ns) {
    sa_thread *thread = &s->threads[index];
    struct sigevent event;
    struct itimerspec period;
    int64_t first;
    memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SA_SIGNAL;
    event.sigev_value.sival_int = s->generation * SA_THREADS_MAX + index;
    event._sigev_un._tid = thread->tid;
    period.it_interval.tv_sec = period_ns / 1000000000;
    period.it_interval.tv_nsec = period_ns % 1000000000;
    if (timer_create(thread->wall ? CLOCK_MONOTONIC : thread->cpu_clock, &event, &thread->timer) != 0)
        return SA_NO_TIMER;
    thread->armed = 1;
    thread->cpu_ns = sa_clock_ns(thread->cpu_clock);
    thread->seen_cpu_ns = thread->cpu_ns;
    thread->since_ns = thread->seen_wall_ns = sa_clock_ns(CLOCK_MONOTONIC);
    first = (thread->wall ? thread->since_ns : thread->cpu_ns) + period_ns;
    period.it_value.tv_sec = first / 1000000000;
    period.it_value.tv_nsec = first % 1000000000;
    return timer_settime(thread->timer, TIMER_ABSTIME, &period, NULL) == 0 ? SA_OK : SA_NO_TIMER;
}

static void sa_stop(sa_sampler *s) {
    int i;
    if (!s->started) return;
    for (i = 0; i < s->thread_count; i++) {
        if (!s->threads[i].armed) continue;
        timer_delete(s->threads[i].timer);
        s->threads[i].armed = 0;
        s->threads[i].cpu_ns = sa_clock_ns(s->threads[i].cpu_clock) - s->threads[i].cpu_ns;
        if (s->threads[i].cpu_ns < 0) s->threads[i].cpu_ns = 0; /* the thread has ended */
    }
    s->wall_ns = sa_clock_ns(CLOCK_MONOTONIC) - s->wall_ns;
    atomic_store(&sa_current, NULL);
    while (atomic_load(&sa_inside)) sched_yield(); /* a handler on another thread */
    s->started = 0;
}

/* Samples the calling thread by the wall clock, all other threads of Python by their CPU time. */
static int sa_start(sa_sampler *s, int64_t period_ns) {
    PyThreadState *own = PyThreadState_Get(), *other;
    sa_sampler *nobody = NULL;
    int status = SA_PROCESSOR_KNOWN ? sa_install() : SA_PROCESSOR, i;
    if (status != SA_OK) return status;
    s->thread_count = s->threads_left_out = 0;
    status = sa_add_thread(s, own, 1);
    if (status != SA_OK) return status;
    for (other = PyInterpreterState_ThreadHead(own->interp); other; other = PyThreadState_Next(other)) {
        if (other == own || other->native_thread_id == 0) continue;
        if (s->thread_count == SA_THREADS_MAX || sa_add_thread(s, other, 0) != SA_OK) s->threads_left_out++;
    }
    s->generation = sa_generation = (sa_generation + 1) & 0xffffff;
    s->period_ns = period_ns;
    atomic_store(&s->words, 0);
    if (!atomic_compare_exchange_strong(&sa_current, &nobody, s)) return SA_BUSY;
    s->started = 1;
    s->wall_ns = sa_clock_ns(CLOCK_MONOTONIC);
    for (i = 0; i < s->thread_count; i++) {
        status = sa_arm(s, i, period_ns);
        if (status != SA_OK && i == 0) { /* (another may have ended meanwhile) */
            sa_stop(s);
            return status;
        }
    }
    return SA_OK;
}

/* -- memory --------------------------------------------------------------------------------------------------- */

static void sa_release(sa_sampler *s) {
    sa_stop(s);
    if (s->arena) munmap(s->arena, s->words_max * sizeof(uint64_t));
    if (s->python) munmap(s->python, sizeof(pf_table));
    s->arena = NULL;
    s->python = NULL;
    uw_free(&s->tables);
}

static int sa_prepare(sa_sampler *s, size_t arena_bytes, size_t rows_max) {
    void *arena, *python;
    s->words_max = arena_bytes / sizeof(uint64_t);
    arena = mmap(NULL, s->words_max * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) return -1;
    s->arena = (uint64_t *)arena;
    python = mmap(NULL, sizeof(pf_table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (python == MAP_FAILED) return -1;
    s->python = (pf_table *)python;
    s->python->pid = getpid();
    return uw_build(&s->tables, rows_max);
}

/* -- equal samples become one ------------------------------------------------------------------------------------ */

typedef struct {
    size_t at;      /* its words in the arena, without the weight of the first */
    size_t length;
    int64_t weight, samples;
} sa_stack;

static uint64_t sa_hash(const uint64_t *words, size_t n) {
    uint64_t hash = 0xcbf29ce484222325ull;
    size_t i;
    for (i = 0; i < n; i++) {
        hash = (hash ^ words[i]) * 0x9E3779B97F4A7C15ull;
        hash ^= hash >> 29;
    }
    return hash;
}

/* After sa_stop(). At most stacks_max different ones are kept, *left_out counts the weight of the rest.
 * Returns how many, -1 without memory; *found is the caller's to free. */
static int64_t sa_collect(sa_sampler *s, size_t stacks_max, sa_stack **found, int64_t *left_out) {
    size_t slots = 64, at = 0, end, count = 0;
    uint32_t *table;
    sa_stack *stacks;
    end = atomic_load(&s->words);
    if (end > s->words_max) end = s->words_max;
    while (slots < 2 * stacks_max) slots *= 2;
    table = (uint32_t *)calloc(slots, sizeof(uint32_t));
    stacks = (sa_stack *)calloc(stacks_max ? stacks_max : 1, sizeof(sa_stack));
    *found = stacks;
    *left_out = 0;
    if (!table || !stacks) {
        free(table);
        free(stacks);
        *found = NULL;
        return -1;
    }
    while (at < end && s->arena[at] != 0) {
        uint64_t head = s->arena[at];
        size_t length = 1 + (head & 0xff) + (head >> 8 & 0xff), slot;
        if (at + length > end) break;
        s->arena[at] = head & 0xffffffffu;
        slot = sa_hash(s->arena + at, length) & (slots - 1);
        for (;; slot = (slot + 1) & (slots - 1)) {
            sa_stack *stack;
            if (table[slot] == 0) {
                if (count == stacks_max) {
                    *left_out += (int64_t)(head >> 32);
                    break;
                }
                stack = &stacks[count++];
                stack->at = at;
                stack->length = length;
                table[slot] = (uint32_t)count;
            } else {
                stack = &stacks[table[slot] - 1];
                if (stack->length != length ||
                    memcmp(s->arena + stack->at, s->arena + at, length * sizeof(uint64_t)) != 0)
                    continue;
            }
            stack->weight += (int64_t)(head >> 32);
            stack->samples++;
            break;
        }
        at += length;
    }
    free(table);
    return (int64_t)count;
}

#endif
