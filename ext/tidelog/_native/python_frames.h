/* The Python functions of a thread, read by a signal handler that interrupted this thread: the thread's
 * own chain of frames, which nobody else changes, whether it has the GIL or not.
 *
 * The handler may come while a frame is pushed or popped, and then a pointer may be stale. So nothing is
 * dereferenced: every read is a process_vm_readv() of this process itself, which fails where there is no
 * memory, and what is taken for a code object must have its type. Names are copied at this moment, in
 * which the code is running and so alive; they need no GIL afterwards.
 *
 * The layout of frames is CPython's own and differs by version: 3.11 to 3.13 are known.
 */
#ifndef TIDELOG_PYTHON_FRAMES_H
#define TIDELOG_PYTHON_FRAMES_H

#include <Python.h>
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
#include "internal/pycore_frame.h"
#define PF_KNOWN 1
#else
#define PF_KNOWN 0
#endif
#undef Py_BUILD_CORE

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
    PF_CODES = 4096, /* slots of the table of functions; a power of two */
    PF_PROBES = 16,
    PF_NAME = 96,
    PF_NO_CODE = 0xffff, /* a frame whose function is not in the table: it is full */
    PF_ENTRY = 0x10000,  /* flag of a frame: the interpreter was entered anew from C for it */
};

typedef struct {
    _Atomic uintptr_t code;
    int32_t line;
    char name[PF_NAME]; /* qualified; "" if it cannot be read */
    char file[PF_NAME]; /* the end of the path */
} pf_code;

typedef struct {
    pid_t pid;
    pf_code codes[PF_CODES];
} pf_table;

static int pf_peek(const pf_table *t, uintptr_t from, void *to, size_t n) {
    struct iovec here = {to, n}, there = {(void *)from, n};
    return process_vm_readv(t->pid, &here, 1, &there, 1, 0) == (ssize_t)n;
}

#if PF_KNOWN

/* The last bytes of an ASCII string, with a 0 behind them; "" for what is none. */
static void pf_text(const pf_table *t, uintptr_t object, char *text) {
    PyASCIIObject head;
    size_t n, skipped = 0;
    text[0] = 0;
    if (!pf_peek(t, object, &head, sizeof(head)) || !head.state.ascii || !head.state.compact) return;
    n = (size_t)head.length;
    if (n >= PF_NAME) {
        skipped = n - (PF_NAME - 1);
        n = PF_NAME - 1;
    }
    if (!pf_peek(t, object + sizeof(PyASCIIObject) + skipped, text, n)) n = 0;
    text[n] = 0;
}

/* The slot of a code object, PF_NO_CODE when the table is full, -1 when it is no code object. */
static int pf_slot(pf_table *t, uintptr_t object) {
    size_t at = (object >> 4) * 0x9E3779B97F4A7C15ull >> 32;
    int probe;
    PyCodeObject code;
    for (probe = 0; probe < PF_PROBES; probe++) {
        pf_code *slot = &t->codes[(at + probe) & (PF_CODES - 1)];
        uintptr_t known = atomic_load_explicit(&slot->code, memory_order_acquire);
        if (known == object) return (int)(slot - t->codes);
        if (known) continue;
        if (!pf_peek(t, object, &code, sizeof(code)) || Py_TYPE(&code) != &PyCode_Type) return -1;
        if (!atomic_compare_exchange_strong(&slot->code, &known, object)) {
            if (known == object) return (int)(slot - t->codes);
            continue;
        }
        slot->line = code.co_firstlineno;
        pf_text(t, (uintptr_t)code.co_qualname, slot->name);
        pf_text(t, (uintptr_t)code.co_filename, slot->file);
        return (int)(slot - t->codes);
    }
    return pf_peek(t, object, &code, sizeof(code)) && Py_TYPE(&code) == &PyCode_Type ? PF_NO_CODE : -1;
}

static uintptr_t pf_current(const pf_table *t, uintptr_t tstate) {
    uintptr_t frame = 0;
#if PY_VERSION_HEX < 0x030D0000
    uintptr_t cframe = 0;
    if (!pf_peek(t, tstate + offsetof(PyThreadState, cframe), &cframe, sizeof(cframe)) || !cframe) return 0;
    if (!pf_peek(t, cframe + offsetof(_PyCFrame, current_frame), &frame, sizeof(frame))) return 0;
#else
    if (!pf_peek(t, tstate + offsetof(PyThreadState, current_frame), &frame, sizeof(frame))) return 0;
#endif
    return frame;
}

/* Frames from the innermost on: slots of functions with flags. Returns how many; *complete: the chain
 * was read to its end. */
static int pf_walk(pf_table *t, uintptr_t tstate, uint64_t *frames, int limit, int *complete) {
    _PyInterpreterFrame frame;
    uintptr_t at = pf_current(t, tstate);
    int n = 0, slot;
    *complete = 1;
    while (at) {
        if (n == limit || !pf_peek(t, at, &frame, offsetof(_PyInterpreterFrame, localsplus))) {
            *complete = 0;
            break;
        }
        at = (uintptr_t)frame.previous;
#if PY_VERSION_HEX >= 0x030C0000
        if (frame.owner == FRAME_OWNED_BY_CSTACK) { /* stands for the entry from C, below the first frame */
            if (n) frames[n - 1] |= PF_ENTRY;
            continue;
        }
#endif
#if PY_VERSION_HEX >= 0x030D0000
        slot = pf_slot(t, (uintptr_t)frame.f_executable);
#else
        slot = pf_slot(t, (uintptr_t)frame.f_code);
#endif
        if (slot < 0) {
            *complete = 0;
            break;
        }
        frames[n++] = (uint64_t)slot;
#if PY_VERSION_HEX < 0x030C0000
        if (frame.is_entry) frames[n - 1] |= PF_ENTRY;
#endif
    }
    return n;
}

#else

static int pf_walk(pf_table *t, uintptr_t tstate, uint64_t *frames, int limit, int *complete) {
    (void)t, (void)tstate, (void)frames, (void)limit;
    *complete = 0;
    return 0;
}

#endif
#endif
