/* The callers of a function that was interrupted anywhere, without locks, without faults and without
 * frame pointers: the compiler's unwind tables (.eh_frame) of all loaded modules, made compact
 * beforehand, and a walk over the stack that only reads within its bounds.
 *
 * Building allocates and may run on any thread. Walking is async-signal-safe: it reads the tables and
 * the interrupted stack, and nothing else.
 *
 * Sources: LSB 5.0 core, chapter 10.6 (.eh_frame, .eh_frame_hdr); DWARF 4, section 6.4 (call frame
 * instructions); System V ABI AMD64, figure 3.36 (numbers of registers). x86-64 only.
 */
#ifndef TIDELOG_UNWIND_H
#define TIDELOG_UNWIND_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    UW_PATH_MAX = 256,
    UW_MODULES_MAX = 512,
    UW_STATES_MAX = 16, /* remembered by one function */
    UW_RBP = 6,         /* registers by DWARF's numbers */
    UW_RSP = 7,
    UW_RIP = 16,
};

/* How the address above a caller's return address (CFA) is found. */
enum {
    UW_CFA_RSP,     /* rsp + offset */
    UW_CFA_RBP,     /* rbp + offset */
    UW_CFA_PLT,     /* in a procedure linkage table */
    UW_CFA_BOTTOM,  /* nobody called it: a thread begins here */
    UW_CFA_UNKNOWN, /* the tables say it in a way that is not understood here */
    UW_CFA_GAP,     /* no function, as far as the tables know */
};

enum { UW_RBP_SAME = 0, UW_RBP_LOST = INT16_MIN };

/* Valid from `at` up to the next row's; offsets in a module. */
typedef struct {
    uint32_t at;
    uint32_t function; /* where the function begins */
    int32_t cfa_offset;
    int16_t rbp_offset; /* where the caller's rbp is, from the CFA; or UW_RBP_... */
    uint8_t cfa;
    uint8_t unused;
} uw_row;

typedef struct {
    uintptr_t base, low, high; /* what is added to its offsets; where it is mapped */
    uintptr_t hdr;             /* .eh_frame_hdr; 0: it has none */
    uw_row *rows;
    size_t count;
    char path[UW_PATH_MAX];
} uw_module;

typedef struct {
    uw_module *modules; /* by `low` */
    size_t count;
    size_t rows, rows_max; /* of all modules */
    size_t modules_skipped; /* without tables, or with too many rows */
} uw_tables;

/* -- reading ------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
    int bad;
} uw_reader;

static uint64_t uw_fixed(uw_reader *r, size_t n) {
    uint64_t value = 0;
    if (r->bad || (size_t)(r->end - r->at) < n) {
        r->bad = 1;
        return 0;
    }
    memcpy(&value, r->at, n);
    r->at += n;
    return value;
}

static uint64_t uw_uleb(uw_reader *r) {
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = (uint8_t)uw_fixed(r, 1);
        if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) && !r->bad);
    return value;
}

static int64_t uw_sleb(uw_reader *r) {
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = (uint8_t)uw_fixed(r, 1);
        if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) && !r->bad);
    if (shift < 64 && (byte & 0x40)) value |= ~(uint64_t)0 << shift;
    return (int64_t)value;
}

static void uw_skip(uw_reader *r, uint64_t n) {
    if (r->bad || (uint64_t)(r->end - r->at) < n)
        r->bad = 1;
    else
        r->at += n;
}

/* A pointer by its encoding (DW_EH_PE_...); `data` is what "relative to data" means. */
static uintptr_t uw_pointer(uw_reader *r, uint8_t encoding, uintptr_t data) {
    uintptr_t here = (uintptr_t)r->at, value;
    switch (encoding & 0x0f) {
    case 0x00: case 0x04: case 0x0c: value = (uintptr_t)uw_fixed(r, 8); break;
    case 0x03: value = (uintptr_t)uw_fixed(r, 4); break;
    case 0x0b: value = (uintptr_t)(intptr_t)(int32_t)uw_fixed(r, 4); break;
    default: r->bad = 1; return 0;
    }
    switch (encoding & 0x70) {
    case 0x00: return value;
    case 0x10: return here + value;
    case 0x30: return data + value;
    default: r->bad = 1; return 0;
    }
}

/* -- building: one function's instructions become rows ----------------------------------------------- */

typedef struct {
    uint8_t cfa;
    int32_t cfa_offset;
    int16_t rbp_offset;
    uint8_t ra_undefined;
} uw_state;

typedef struct {
    uint64_t code_align;
    int64_t data_align;
    uint8_t encoding;
    int has_augmentation;
    uw_state first;
} uw_cie;

typedef struct {
    uw_tables *tables;
    uw_module *module;
    size_t capacity;
    int failed;
} uw_builder;

static void uw_emit(uw_builder *b, uint32_t at, uint32_t function, const uw_state *state) {
    uw_module *m = b->module;
    uw_row *row;
    if (m->count && m->rows[m->count - 1].at == at) {
        row = &m->rows[m->count - 1];
    } else {
        if (m->count == b->capacity) {
            size_t wanted = b->capacity ? 2 * b->capacity : 1024;
            uw_row *grown = b->tables->rows + m->count >= b->tables->rows_max
                                ? NULL : (uw_row *)realloc(m->rows, wanted * sizeof(uw_row));
            if (!grown) {
                b->failed = 1;
                return;
            }
            m->rows = grown;
            b->capacity = wanted;
        }
        row = &m->rows[m->count++];
    }
    row->at = at;
    row->function = function;
    row->cfa = state->ra_undefined ? UW_CFA_BOTTOM : state->cfa;
    row->cfa_offset = state->cfa_offset;
    row->rbp_offset = state->rbp_offset;
    row->unused = 0;
}

static void uw_set_cfa(uw_state *state, uint64_t reg, int64_t offset) {
    state->cfa = reg == UW_RSP ? UW_CFA_RSP : reg == UW_RBP ? UW_CFA_RBP : UW_CFA_UNKNOWN;
    if (offset < 0 || offset > INT32_MAX) state->cfa = UW_CFA_UNKNOWN;
    state->cfa_offset = (int32_t)offset;
}

/* In a PLT entry the CFA depends on how far it has come: rsp + 8, and 8 more once it has pushed. */
static int uw_is_plt(const uint8_t *expression, uint64_t n) {
    static const uint8_t known[] = {0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};
    return n == sizeof(known) && memcmp(expression, known, n) == 0;
}

static void uw_set_register(uw_state *state, uint64_t reg, int64_t offset) {
    if (reg == UW_RBP)
        state->rbp_offset = offset > INT16_MIN && offset <= INT16_MAX && offset != 0
                                ? (int16_t)offset : (int16_t)UW_RBP_LOST;
    else if (reg == UW_RIP && offset != -8)
        state->cfa = UW_CFA_UNKNOWN; /* the return address is always right below the CFA */
}

static void uw_forget_register(uw_state *state, uint64_t reg, int lost) {
    if (reg == UW_RBP) state->rbp_offset = lost ? (int16_t)UW_RBP_LOST : (int16_t)UW_RBP_SAME;
}

/* Runs instructions up to their end. With a builder a row is made wherever the place moves on; without,
 * only the state counts (the part that the functions of a CIE have in common). */
static void uw_run(uw_reader *r, const uw_cie *cie, uw_state *state, uw_builder *b, uint32_t at,
                   uint32_t function) {
    uw_state remembered[UW_STATES_MAX];
    int depth = 0;
    while (r->at < r->end && !r->bad) {
        uint8_t op = (uint8_t)uw_fixed(r, 1);
        uint64_t reg, n, delta = 0;
        int moves = 0;
        if ((op & 0xc0) == 0x40) { /* advance_loc */
            delta = op & 0x3f;
            moves = 1;
        } else if ((op & 0xc0) == 0x80) { /* offset */
            uw_set_register(state, op & 0x3f, (int64_t)uw_uleb(r) * cie->data_align);
        } else if ((op & 0xc0) == 0xc0) { /* restore */
            if ((op & 0x3f) == UW_RBP) state->rbp_offset = cie->first.rbp_offset;
        } else switch (op) {
        case 0x00: break; /* nop */
        case 0x02: delta = uw_fixed(r, 1); moves = 1; break;
        case 0x03: delta = uw_fixed(r, 2); moves = 1; break;
        case 0x04: delta = uw_fixed(r, 4); moves = 1; break;
        case 0x05: reg = uw_uleb(r); uw_set_register(state, reg, (int64_t)uw_uleb(r) * cie->data_align); break;
        case 0x06: if (uw_uleb(r) == UW_RBP) state->rbp_offset = cie->first.rbp_offset; break;
        case 0x07: /* undefined */
            reg = uw_uleb(r);
            if (reg == UW_RIP) state->ra_undefined = 1;
            uw_forget_register(state, reg, 1);
            break;
        case 0x08: uw_forget_register(state, uw_uleb(r), 0); break; /* same_value */
        case 0x09: uw_forget_register(state, uw_uleb(r), 1); uw_uleb(r); break; /* register */
        case 0x0a: /* remember_state */
            if (depth == UW_STATES_MAX) r->bad = 1; else remembered[depth++] = *state;
            break;
        case 0x0b: /* restore_state */
            if (depth == 0) r->bad = 1; else *state = remembered[--depth];
            break;
        case 0x0c: reg = uw_uleb(r); uw_set_cfa(state, reg, (int64_t)uw_uleb(r)); break;
        case 0x0d: uw_set_cfa(state, uw_uleb(r), state->cfa_offset); break;
        case 0x0e: /* def_cfa_offset */
            n = uw_uleb(r);
            state->cfa_offset = (int32_t)n;
            if (n > INT32_MAX) state->cfa = UW_CFA_UNKNOWN;
            break;
        case 0x0f: /* def_cfa_expression */
            n = uw_uleb(r);
            if (!r->bad && (uint64_t)(r->end - r->at) >= n)
                state->cfa = uw_is_plt(r->at, n) ? UW_CFA_PLT : UW_CFA_UNKNOWN;
            uw_skip(r, n);
            break;
        case 0x10: case 0x16: /* expression, val_expression */
            reg = uw_uleb(r);
            uw_skip(r, uw_uleb(r));
            uw_forget_register(state, reg, 1);
            if (reg == UW_RIP) state->cfa = UW_CFA_UNKNOWN;
            break;
        case 0x11: reg = uw_uleb(r); uw_set_register(state, reg, uw_sleb(r) * cie->data_align); break;
        case 0x12: reg = uw_uleb(r); uw_set_cfa(state, reg, uw_sleb(r) * cie->data_align); break;
        case 0x13: uw_set_cfa(state, state->cfa == UW_CFA_RBP ? UW_RBP : UW_RSP, uw_sleb(r) * cie->data_align); break;
        case 0x14: case 0x15: uw_forget_register(state, uw_uleb(r), 1); uw_uleb(r); break; /* val_offset */
        case 0x2e: uw_uleb(r); break; /* GNU_args_size */
        default: r->bad = 1;
        }
        if (moves && b && !r->bad) {
            uw_emit(b, at, function, state);
            at += (uint32_t)(delta * cie->code_align);
        }
    }
    if (r->bad) state->cfa = UW_CFA_UNKNOWN;
    if (b) uw_emit(b, at, function, state);
}

static int uw_read_cie(const uint8_t *at, const uw_module *m, uw_cie *cie) {
    uw_reader r = {at, (const uint8_t *)m->high, 0};
    const char *augmentation;
    uint64_t length = uw_fixed(&r, 4);
    uint8_t version;
    if (r.bad || length == 0 || length >= 0xfffffff0u || (uint64_t)(r.end - r.at) < length) return -1;
    r.end = r.at + length;
    if (uw_fixed(&r, 4) != 0) return -1;
    version = (uint8_t)uw_fixed(&r, 1);
    augmentation = (const char *)r.at;
    while (uw_fixed(&r, 1) != 0 && !r.bad) {}
    cie->code_align = uw_uleb(&r);
    cie->data_align = uw_sleb(&r);
    if (version == 1) uw_fixed(&r, 1); else uw_uleb(&r);
    cie->encoding = 0;
    cie->has_augmentation = 0;
    if (r.bad) return -1;
    if (*augmentation == 'z') {
        uint64_t n = uw_uleb(&r);
        const uint8_t *behind = r.at;
        cie->has_augmentation = 1;
        if (r.bad || (uint64_t)(r.end - r.at) < n) return -1;
        behind += n;
        for (augmentation++; *augmentation && !r.bad; augmentation++) {
            if (*augmentation == 'R') cie->encoding = (uint8_t)uw_fixed(&r, 1);
            else if (*augmentation == 'L') uw_fixed(&r, 1);
            else if (*augmentation == 'P') {
                uint8_t encoding = (uint8_t)uw_fixed(&r, 1);
                uw_pointer(&r, encoding & 0x0f, 0); /* only skipped */
            }
        }
        if (r.bad) return -1;
        r.at = behind;
    } else if (*augmentation != 0) {
        return -1;
    }
    memset(&cie->first, 0, sizeof(cie->first));
    cie->first.cfa = UW_CFA_UNKNOWN;
    uw_run(&r, cie, &cie->first, NULL, 0, 0);
    return r.bad ? -1 : 0;
}

static void uw_add_function(uw_builder *b, const uint8_t *at, const uint8_t **cie_at, uw_cie *cie) {
    uw_module *m = b->module;
    uw_reader r = {at, (const uint8_t *)m->high, 0};
    uint64_t length = uw_fixed(&r, 4), back;
    const uint8_t *field = r.at, *its_cie;
    uw_state state;
    uw_state gap = {UW_CFA_GAP, 0, 0, 0};
    uintptr_t from, range;
    if (r.bad || length == 0 || length >= 0xfffffff0u || (uint64_t)(r.end - r.at) < length) return;
    r.end = r.at + length;
    back = uw_fixed(&r, 4);
    its_cie = field - back;
    if (r.bad || (uintptr_t)its_cie < m->low || back == 0) return;
    if (its_cie != *cie_at) {
        *cie_at = NULL;
        if (uw_read_cie(its_cie, m, cie) != 0) return;
        *cie_at = its_cie;
    }
    from = uw_pointer(&r, cie->encoding, 0);
    range = uw_pointer(&r, cie->encoding & 0x0f, 0);
    if (cie->has_augmentation) uw_skip(&r, uw_uleb(&r));
    if (r.bad || from < m->low || from >= m->high || range > m->high - from ||
        m->high - m->base > UINT32_MAX)
        return;
    state = cie->first;
    uw_run(&r, cie, &state, b, (uint32_t)(from - m->base), (uint32_t)(from - m->base));
    uw_emit(b, (uint32_t)(from + range - m->base), (uint32_t)(from + range - m->base), &gap);
}

static void uw_build_module(uw_tables *t, uw_module *m) {
    uw_reader r = {(const uint8_t *)m->hdr, (const uint8_t *)m->high, 0};
    uw_builder b = {t, m, 0, 0};
    const uint8_t *cie_at = NULL;
    uw_cie cie;
    uint8_t version, frame_encoding, count_encoding, table_encoding;
    uint64_t i, count;
    memset(&cie, 0, sizeof(cie));
    version = (uint8_t)uw_fixed(&r, 1);
    frame_encoding = (uint8_t)uw_fixed(&r, 1);
    count_encoding = (uint8_t)uw_fixed(&r, 1);
    table_encoding = (uint8_t)uw_fixed(&r, 1);
    uw_pointer(&r, frame_encoding, m->hdr);
    count = uw_pointer(&r, count_encoding, m->hdr);
    if (!m->hdr || version != 1 || table_encoding != 0x3b || r.bad) {
        t->modules_skipped++;
        return;
    }
    for (i = 0; i < count && !r.bad && !b.failed; i++) {
        uintptr_t function = uw_pointer(&r, table_encoding, m->hdr);
        uintptr_t fde = uw_pointer(&r, table_encoding, m->hdr);
        if (r.bad || function < m->low || fde < m->low || fde >= m->high) continue;
        uw_add_function(&b, (const uint8_t *)fde, &cie_at, &cie);
    }
    if (b.failed) { /* half a table would tell lies about the other half */
        free(m->rows);
        m->rows = NULL;
        m->count = 0;
        t->modules_skipped++;
    }
    t->rows += m->count;
}

static int uw_note_module(struct dl_phdr_info *info, size_t size, void *context) {
    uw_tables *t = (uw_tables *)context;
    uw_module *m;
    int i;
    (void)size;
    if (t->count == UW_MODULES_MAX) {
        t->modules_skipped++;
        return 0;
    }
    m = &t->modules[t->count];
    memset(m, 0, sizeof(*m));
    m->base = info->dlpi_addr;
    m->low = UINTPTR_MAX;
    for (i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD) {
            uintptr_t low = m->base + p->p_vaddr, high = low + p->p_memsz;
            if (low < m->low) m->low = low;
            if (high > m->high) m->high = high;
        } else if (p->p_type == PT_GNU_EH_FRAME) {
            m->hdr = m->base + p->p_vaddr;
        }
    }
    if (info->dlpi_name) strncpy(m->path, info->dlpi_name, UW_PATH_MAX - 1);
    if (m->low < m->high) t->count++;
    return 0;
}

static int uw_by_address(const void *a, const void *b) {
    const uw_module *left = (const uw_module *)a, *right = (const uw_module *)b;
    return left->low < right->low ? -1 : left->low > right->low;
}

static void uw_free(uw_tables *t) {
    size_t i;
    for (i = 0; i < t->count; i++) free(t->modules[i].rows);
    free(t->modules);
    memset(t, 0, sizeof(*t));
}

/* 0, or -1 without memory. Holes inside a module (between its segments) are never read: everything that
 * the tables name lies in what is mapped of it. */
static int uw_build(uw_tables *t, size_t rows_max) {
    size_t i;
    memset(t, 0, sizeof(*t));
    t->rows_max = rows_max;
    t->modules = (uw_module *)calloc(UW_MODULES_MAX, sizeof(uw_module));
    if (!t->modules) return -1;
    dl_iterate_phdr(uw_note_module, t);
    qsort(t->modules, t->count, sizeof(uw_module), uw_by_address);
    for (i = 0; i < t->count; i++) uw_build_module(t, &t->modules[i]);
    return 0;
}

/* -- walking (async-signal-safe) ----------------------------------------------------------------------- */

static const uw_module *uw_find_module(const uw_tables *t, uintptr_t pc) {
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->modules[middle].low <= pc) low = middle + 1; else high = middle;
    }
    if (low == 0 || pc >= t->modules[low - 1].high) return NULL;
    return &t->modules[low - 1];
}

static const uw_row *uw_find_row(const uw_module *m, uintptr_t pc) {
    uint32_t at = (uint32_t)(pc - m->base);
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->rows[middle].at <= at) low = middle + 1; else high = middle;
    }
    return low ? &m->rows[low - 1] : NULL;
}

typedef struct {
    uintptr_t pc, sp, bp;
    uintptr_t stack_high; /* nothing is read from here on */
} uw_place;

/* The functions from the innermost on, by where each begins (the address itself, where that is not
 * known). Returns how many; *complete: the walk came to where the thread begins. */
__attribute__((no_sanitize("address"))) /* it reads what lies between variables */
static int uw_walk(const uw_tables *t, uw_place place, uint64_t *functions, int limit, int *complete) {
    int n = 0;
    *complete = 0;
    while (n < limit) {
        /* A return address may be the first byte behind its function: its call never returns. */
        uintptr_t pc = n ? place.pc - 1 : place.pc, cfa;
        const uw_module *m = uw_find_module(t, pc);
        const uw_row *row = m ? uw_find_row(m, pc) : NULL;
        if (!row || row->cfa == UW_CFA_GAP) {
            functions[n++] = pc;
            return n;
        }
        functions[n++] = m->base + row->function;
        switch (row->cfa) {
        case UW_CFA_RSP: cfa = place.sp + row->cfa_offset; break;
        case UW_CFA_RBP: cfa = place.bp + row->cfa_offset; break;
        case UW_CFA_PLT: cfa = place.sp + 8 + ((place.pc & 15) >= 11 ? 8 : 0); break;
        case UW_CFA_BOTTOM: *complete = 1; return n;
        default: return n;
        }
        /* The stack grows down: a caller's part lies above, and within the thread's stack. */
        if ((cfa & 7) || cfa < place.sp + 8 || cfa > place.stack_high) return n;
        if (row->rbp_offset == UW_RBP_LOST) {
            place.bp = 0;
        } else if (row->rbp_offset != UW_RBP_SAME) {
            uintptr_t saved = cfa + row->rbp_offset;
            if (row->rbp_offset > 0 || (saved & 7) || saved < place.sp) return n;
            place.bp = *(const uintptr_t *)saved;
        }
        place.pc = *(const uintptr_t *)(cfa - 8);
        place.sp = cfa;
        if (place.pc == 0) {
            *complete = 1;
            return n;
        }
    }
    return n;
}

#endif
