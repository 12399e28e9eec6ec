"""The aborted transactions of a log: kept by segment, found for readers of committed records.

Functions over the log's segments (`Segment.txn_index`). noting and collecting are the loop's; what
opens and rebuilds belongs to a helper that has the segments for itself. They never read a log:
which transactions were aborted is told by the producer state, which sees every marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidelog._native.log import LogCore
from tidelog._native.segment import Segment
from tidelog._native.segments import find_slot
from tidelog.storage.files import Files
from tidelog.storage.segment_files import TXN_INDEX_SUFFIX, path_of
from tidelog.storage.txn_index import AbortedTxn, CorruptTxnIndexError, TxnIndex


def index_of(files: Files, segment: Segment) -> TxnIndex:
    """The segment's index, made (in memory) if it has none."""
    if segment.txn_index is None:
        path = path_of(segment.directory, segment.base_offset, TXN_INDEX_SUFFIX)
        segment.txn_index = TxnIndex(path, segment.base_offset, files)
    assert isinstance(segment.txn_index, TxnIndex)
    return segment.txn_index


def note_aborted(
    files: Files, core: LogCore, producer_id: int, first_offset: int, marker: int
) -> None:
    """A marker that aborts was appended to the active segment."""
    stable = core.producers.last_stable_offset_after(producer_id, marker)
    txn = AbortedTxn(producer_id, first_offset, marker, stable)
    index_of(files, core.segment_list[-1]).append(txn)


def open_index(files: Files, segment: Segment) -> str:
    """Reads the segment's file. Returns what is wrong with it, "" when nothing is.

    An index that cannot be read is empty afterwards, and so is its file. Raises OSError.
    """
    path = path_of(segment.directory, segment.base_offset, TXN_INDEX_SUFFIX)
    try:
        index = TxnIndex.open(path, segment.base_offset, files)
    except CorruptTxnIndexError as error:
        files.unlink(path)
        return str(error)
    index.truncate_to(segment.next_offset)  # the segment may have lost its end
    if index.entries:
        segment.txn_index = index
    return ""


def reindex(files: Files, segment: Segment, from_offset: int, found: Iterable[AbortedTxn]) -> None:
    """`found` is what the log says of the segment's markers from the offset on. Raises OSError."""
    wanted = [txn for txn in found if txn.last_offset >= from_offset]
    index = segment.txn_index
    held = index.entries if isinstance(index, TxnIndex) else []
    if [txn for txn in held if txn.last_offset >= from_offset] == wanted:
        return
    index = index_of(files, segment)
    index.truncate_to(from_offset)
    for txn in wanted:
        index.append(txn)
    if index.write():
        files.sync_directory(segment.directory)


def write_index(segment: Segment | None, *, durable: bool) -> bool:
    """Returns whether a file was made. Raises OSError."""
    index = None if segment is None else segment.txn_index
    return isinstance(index, TxnIndex) and index.write(durable=durable)


def collect_from(
    segments: Sequence[Segment], fetch_offset: int, upper_bound_offset: int
) -> list[AbortedTxn]:
    """Aborted transactions with records in [fetch_offset, upper_bound_offset).

    A transaction's marker, and with it the entry, may stand in a later segment than its records.
    """
    found: list[AbortedTxn] = []
    for segment in segments[max(find_slot(list(segments), fetch_offset), 0) :]:
        index = segment.txn_index
        if isinstance(index, TxnIndex):
            some = index.collect(fetch_offset, upper_bound_offset)
            found += some.aborted
            if some.is_complete:
                break
    return found
