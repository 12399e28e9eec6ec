/* How long a thread runs before others have their turn, of Linux's fair scheduler (6.12 and newer).
 *
 * A thread that asks for long slices is one that is in no hurry: whoever wakes up with a shorter one goes first. It has
 * its full share of the processor all the same, and needs no privilege to go back, unlike with a lower priority.
 * Older kernels refuse it, which changes nothing.
 */
#ifndef TIDELOG_SLICES_H
#define TIDELOG_SLICES_H

#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICES_LONGEST_NS 100000000 /* the most that the kernel takes */

/* struct sched_attr of the kernel, its first version. */
struct slices_attr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
};

/* Of the calling thread, in ns; 0: the kernel's own. Its priority stays as it is. */
static inline void slices_ask_for(uint64_t ns)
{
    struct slices_attr attr;
    memset(&attr, 0, sizeof(attr));
    attr.size = sizeof(attr);
    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0 || attr.policy != 0)
        return;
    attr.flags = 0;
    attr.runtime = ns;
    attr.deadline = attr.period = 0;
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

#endif
