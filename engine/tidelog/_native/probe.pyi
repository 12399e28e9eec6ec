"""Loops on a file and on a socket, for `tidelog profile`. Durations are nanoseconds.

A histogram is (buckets as (lowest value, count), sum, min, max, count): what
`tidelog.benchmarks.histogram.Histogram.from_buckets` takes.
"""

from typing import Final, Literal, TypedDict, type_check_only

MAX_WRITERS: Final[int]
MAX_WINDOW_BYTES: Final[int]

RawHistogram = tuple[list[tuple[int, int]], int, int, int, int]

@type_check_only
class FileCounts(TypedDict):
    """Of one run; cpu: of the thread; latency: of all runs of the object."""

    calls: int
    bytes: int
    elapsed_ns: int
    cpu_ns: int
    latency: RawHistogram

@type_check_only
class GroupCounts(TypedDict):
    """writes: that were acknowledged, behind a sync; elapsed: until the last of them."""

    writes: int
    syncs: int
    elapsed_ns: int
    latency: RawHistogram

@type_check_only
class StreamCounts(TypedDict):
    """Of all runs of the object, but elapsed and cpu; ended: the other side sends no more."""

    messages: int
    bytes: int
    elapsed_ns: int
    cpu_ns: int
    ended: bool
    latency: RawHistogram

class FileLoop:
    """Reads or writes of `size` bytes within the first `span` bytes of a file, from its beginning
    on or at random multiples of size. sync: after each write, fdatasync ("data") or fsync ("file").
    wrap: begin again at the end. timed: the latency of each call is recorded; with a sync, that of
    the sync alone. The buffer is aligned for O_DIRECT and holds nothing that can be compressed.

    run goes on until the time is up, max_bytes are done or the span ends, whichever comes first;
    the next run continues. Raises OSError; a device without room is ENOSPC also when it took a part
    of the last write.
    """

    def __init__(
        self,
        fd: int,
        *,
        size: int,
        span: int,
        writing: bool,
        random: bool = False,
        sync: Literal["none", "data", "file"] = "none",
        wrap: bool = False,
        timed: bool = False,
    ) -> None: ...
    def run(self, *, seconds: float, max_bytes: int) -> FileCounts: ...

def group_commit(
    fd: int, *, size: int, writers: int, seconds: float, max_bytes: int
) -> GroupCounts:
    """Threads (1 to MAX_WRITERS) that append `size` bytes each and wait until an fdatasync covers
    them, again and again. Whoever finds no sync on its way makes one for all that is written by
    then. latency: from before the write until it is covered. Raises OSError."""

class Stream:
    """A loop on a connected, blocking socket that has SO_RCVTIMEO and SO_SNDTIMEO of less than a
    tenth of a second.

    "ping": sends messages and receives as many bytes for each, `window` of them in flight (at most
    MAX_WINDOW_BYTES together); latency is from send to the whole answer. "echo": its other side.
    "send": from memory. "sendfile", "read+send": from the first `span` bytes of `file`; wrap:
    begin again at the end. "sink": receives until the other side has sent everything or max_bytes
    are exceeded.

    run goes on until the time is up, max_bytes are sent (whole messages) or the file ends. With
    grace_s it then ends what is on its way. Raises OSError; TimeoutError when that takes longer.
    """

    def __init__(
        self,
        fd: int,
        kind: Literal["ping", "echo", "send", "sendfile", "read+send", "sink"],
        *,
        size: int,
        window: int = 1,
        file: int = -1,
        span: int = 0,
        wrap: bool = False,
    ) -> None: ...
    def run(self, *, seconds: float, max_bytes: int, grace_s: float = 0.0) -> StreamCounts: ...
