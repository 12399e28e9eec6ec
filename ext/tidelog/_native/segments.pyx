"""Look-ups over the ordered segments of a log (see segments.pxd).

Owned by nobody: LogCore asks on the loop thread. It never waits but for the headers of batches that
are neither recent nor in the page cache.
"""

from libc.stdint cimport int16_t, int64_t

from tidelog._native.segment cimport (
    LOCATE_BEYOND,
    LOCATE_CORRUPT,
    LOCATE_FOUND,
    BatchLocation,
    Segment,
)

cdef enum:
    ERROR_CORRUPT_MESSAGE = 2
    ERROR_KAFKA_STORAGE_ERROR = 56


cdef inline int16_t read_error(int status) noexcept:
    return ERROR_CORRUPT_MESSAGE if status == LOCATE_CORRUPT else ERROR_KAFKA_STORAGE_ERROR


cdef Py_ssize_t last_slot(list segments, int64_t offset) noexcept:
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = len(segments) - 1
    cdef Py_ssize_t middle
    if high < 0 or (<Segment>segments[0]).base_offset > offset:
        return -1
    if (<Segment>segments[high]).base_offset <= offset:
        return high
    while low < high:
        middle = (low + high + 1) >> 1
        if (<Segment>segments[middle]).base_offset <= offset:
            low = middle
        else:
            high = middle - 1
    return low


cdef Segment find_region(
    list segments,
    int64_t offset,
    int64_t max_bytes,
    int64_t upper_offset,
    bint min_one_batch,
    ReadResult *result,
):
    cdef Py_ssize_t slot = last_slot(segments, offset)
    cdef Py_ssize_t count = len(segments)
    cdef Segment segment
    cdef BatchLocation first
    cdef BatchLocation bound
    cdef int status = LOCATE_BEYOND
    cdef int64_t end
    cdef int64_t bad
    cdef int64_t size
    if slot < 0:
        slot = 0  # the offset lies in a gap before the first segment
    while slot < count:
        segment = <Segment>segments[slot]
        status = segment.locate(offset, &first)
        if status != LOCATE_BEYOND:
            break
        if segment.damage_from(segment.size) == segment.size and offset < segment.next_offset:
            result.error_code = ERROR_CORRUPT_MESSAGE  # it stood in what the file lost
            return None
        slot += 1  # a gap at the end of this segment
    if status == LOCATE_BEYOND:
        return None
    if status != LOCATE_FOUND:
        result.error_code = read_error(status)
        return None
    end = segment.size
    if upper_offset < segment.next_offset:
        status = segment.locate(upper_offset, &bound)
        if status == LOCATE_FOUND:
            end = bound.position
        elif status != LOCATE_BEYOND:
            result.error_code = read_error(status)
            return None
    bad = segment.damage_from(first.position)
    if bad == first.position:
        result.error_code = ERROR_CORRUPT_MESSAGE
        return None
    if bad < end:
        end = bad
    size = end - first.position
    if size > max_bytes:
        size = max_bytes
        if first.size > max_bytes:
            size = first.size if min_one_batch else 0
    if size <= 0:
        return None
    if segment.trimmed:
        if segment.wake():
            result.error_code = ERROR_KAFKA_STORAGE_ERROR
            return None
        segment.touch()
    result.position = first.position
    result.size = size
    result.start_offset = first.base_offset
    return segment


cdef int64_t bytes_between(list segments, int64_t offset, int64_t upper_offset) noexcept:
    cdef Py_ssize_t slot = last_slot(segments, offset)
    cdef Py_ssize_t count = len(segments)
    cdef Segment segment
    cdef BatchLocation location
    cdef int64_t total = 0
    cdef int64_t start
    if slot < 0:
        slot = 0
    while slot < count:
        segment = <Segment>segments[slot]
        if segment.base_offset >= upper_offset:
            break
        start = 0
        if offset > segment.base_offset:
            start = segment.size
            if segment.locate(offset, &location) == LOCATE_FOUND:
                start = location.position
        if upper_offset >= segment.next_offset:
            total += segment.size - start
        else:
            if segment.locate(upper_offset, &location) == LOCATE_FOUND:
                total += location.position - start
            break
        slot += 1
    return total if total > 0 else 0


# ---- for callers in Python (tests)


def find_slot(list segments not None, int64_t offset):
    """last_slot()."""
    return last_slot(segments, offset)


def read(
    list segments not None,
    int64_t offset,
    int64_t max_bytes,
    int64_t upper_offset,
    bint min_one_batch=True,
):
    """find_region(): (error_code, segment or None, position, size, start_offset)."""
    cdef ReadResult result = ReadResult(0, 0, 0, -1)
    cdef Segment segment = find_region(
        segments, offset, max_bytes, upper_offset, min_one_batch, &result
    )
    return result.error_code, segment, result.position, result.size, result.start_offset


def available(list segments not None, int64_t offset, int64_t upper_offset):
    """bytes_between()."""
    return bytes_between(segments, offset, upper_offset)
