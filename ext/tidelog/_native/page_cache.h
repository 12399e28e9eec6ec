/* What of a file the kernel's page cache holds, asked without making the kernel read; and when it does read.
 *
 * Files of a log are read by the loop, which must not wait for the disk nor work for it, and by those who read all of
 * one. The kernel's own read-ahead does not know them apart: a look-up of the loop begins megabytes, or meets the mark
 * that another reader left behind and begins them then. So it is off, and who reads on and on says what comes next.
 *
 * preadv2 with RWF_NOWAIT does not wait for a cold page, but it begins to read it, and the pages behind it as far as
 * the file's read-ahead goes (8 MiB on some machines): milliseconds of work in whoever asks. cachestat(2), of Linux 6.5
 * and newer, only looks.
 */
#ifndef TIDELOG_PAGE_CACHE_H
#define TIDELOG_PAGE_CACHE_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* One byte in so many is looked at: the pages between are read together. */
#define PAGE_CACHE_PROBE_STEP (128 * 1024)

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* on every architecture that we are built for */
#endif

struct page_cache_range {
    uint64_t offset;
    uint64_t length;
};

struct page_cache_counts {
    uint64_t cached;
    uint64_t dirty;
    uint64_t written_back;
    uint64_t evicted;
    uint64_t recently_evicted;
};

/* Of this descriptor only that is read which is asked for. */
static inline void page_cache_read_no_further(int fd)
{
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
}

/* For who reads a file on and on: it needs `from` to `to` now, has begun to read up to `begun` (-1: nothing), and the
 * next `ahead` bytes, at most up to `end`, are to be begun. Returns up to where that is now. Behind a jump nothing is
 * begun.
 */
static inline int64_t page_cache_keep_ahead(
    int fd, int64_t begun, int64_t from, int64_t to, int64_t ahead, int64_t end)
{
    int64_t until = to + ahead < end ? to + ahead : end;
    if (from > begun)
        return to;
    if (to + ahead / 2 <= begun || until <= begun)
        return begun;
    (void)posix_fadvise(fd, begun, until - begun, POSIX_FADV_WILLNEED);
    return until;
}

/* Pages of the kernel that the range touches. */
static inline uint64_t page_cache_pages(uint64_t from, uint64_t to, uint64_t page)
{
    return to <= from ? 0 : (to - 1) / page - from / page + 1;
}

/* Is a page of the range, as far as the file goes, missing in the cache? 0 too if the kernel cannot tell. */
static inline int page_cache_misses(int fd, off_t at, size_t n)
{
    struct page_cache_range range = {(uint64_t)at, n};
    struct page_cache_counts counts = {0, 0, 0, 0, 0};
    struct stat info;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = (uint64_t)at + n;
    if (n == 0 || syscall(SYS_cachestat, fd, &range, &counts, 0) != 0)
        return 0;
    if (counts.cached >= page_cache_pages(range.offset, end, page))
        return 0;
    if (fstat(fd, &info) != 0)
        return 0;
    if (end > (uint64_t)info.st_size)
        end = (uint64_t)info.st_size;
    return counts.cached < page_cache_pages(range.offset, end, page);
}

/* 1: its byte is here, or nobody will bring it; 0: its page is cold or still being read; -1: beyond the file's end. */
static inline int page_cache_probe(int fd, off_t at)
{
    uint8_t byte;
    struct iovec part = {&byte, 1};
    ssize_t got = preadv2(fd, &part, 1, at, RWF_NOWAIT);
    if (got == 0)
        return -1;
    return !(got < 0 && errno == EAGAIN);
}

/* Can n bytes be sent, and `beyond` more be read, without waiting for the disk? Pages that are there may still be
 * filled by a read that goes on, so they are probed as well. What cannot be read at all counts as warm: sending tells.
 */
static inline int page_cache_is_warm(int fd, off_t at, size_t n, size_t beyond)
{
    off_t end = at + (off_t)n;
    int last;
    if (page_cache_misses(fd, at, n + beyond))
        return 0;
    for (; at < end; at += PAGE_CACHE_PROBE_STEP) {
        if (page_cache_probe(fd, at) == 0)
            return 0;
    }
    last = page_cache_probe(fd, end - 1 + (off_t)beyond);
    return last < 0 ? page_cache_probe(fd, end - 1) != 0 : last;
}

#endif
