"""What a partition remembers of its idempotent producers and open transactions.

Belongs to one LogCore and is touched by its thread only. Decides; never does I/O and asks no clock:
snapshots are written by tidelog.storage.producer_snapshot from the bytes that it hands out.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT32_MAX, int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport (
    ATTR_CONTROL,
    ATTR_TRANSACTIONAL,
    BATCH_OVERHEAD,
    BatchHeader,
    BatchInfo,
    control_type,
    parse_header,
)
from tidelog._native.wire cimport wire_put_int16, wire_put_int32, wire_put_int64

from collections import namedtuple

from tidelog.errors import InvariantError


cdef enum:
    CONTROL_ABORT = 0
    CONTROL_COMMIT = 1
    ENTRY_SIZE = 46
    # Transactions that were asked for and have not begun; of failed ones nobody comes back.
    EXPECTED_MAX = 10000
    REFUSED_MAX = 10000
    # As many batches behind a refused one are answered like it; who gave that up knows it then.
    BEHIND_MAX = 1000


# A row of DescribeProducers; first offset -1: no transaction is open.
ActiveProducer = namedtuple(
    "ActiveProducer",
    [
        "producer_id",
        "producer_epoch",
        "last_sequence",
        "last_timestamp",
        "coordinator_epoch",
        "current_txn_first_offset",
    ],
)


# Sequences count 0 .. 2^31-1 and start again at 0.
cdef int32_t add_sequence(int32_t sequence, int32_t delta) noexcept nogil:
    if sequence > INT32_MAX - delta:
        return delta - (INT32_MAX - sequence) - 1
    return sequence + delta


cdef bint in_sequence(int32_t last, int32_t following) noexcept nogil:
    return following == <int64_t>last + 1 or (following == 0 and last == INT32_MAX)


cdef int32_t last_sequence_of(const BatchInfo* info) noexcept nogil:
    if info.base_sequence == NO_SEQUENCE:
        return NO_SEQUENCE
    return add_sequence(info.base_sequence, info.last_offset_delta)


@cython.final
cdef class ProducerEntry:
    """One producer id: its epoch, its last batches, its open transaction."""

    def __cinit__(self):
        self.producer_epoch = NO_PRODUCER_EPOCH
        self.coordinator_epoch = -1
        self.last_timestamp = -1
        self.current_txn_first_offset = -1

    cdef const BatchMetadata* batch(self, int i) noexcept:
        return &self.batches[(self.head + i) % BATCHES_TO_RETAIN]

    cdef int32_t last_sequence(self) noexcept:
        return self.batch(self.count - 1).last_sequence if self.count else NO_SEQUENCE

    cdef void set_epoch(self, int16_t epoch) noexcept:
        if epoch != self.producer_epoch:
            self.producer_epoch = epoch
            self.count = 0

    cdef void add(
        self, int32_t last_sequence, int64_t last_offset, int32_t offset_delta, int64_t timestamp
    ) noexcept:
        cdef BatchMetadata* slot = &self.batches[(self.head + self.count) % BATCHES_TO_RETAIN]
        slot.last_sequence = last_sequence
        slot.last_offset = last_offset
        slot.offset_delta = offset_delta
        slot.timestamp = timestamp
        if self.count == BATCHES_TO_RETAIN:
            self.head = (self.head + 1) % BATCHES_TO_RETAIN
        else:
            self.count += 1
        self.last_timestamp = timestamp

    @property
    def retained(self):
        """(last_sequence, last_offset, offset_delta, timestamp) of the retained batches, oldest
        first."""
        cdef int i
        cdef const BatchMetadata* one
        cdef list out = []
        for i in range(self.count):
            one = self.batch(i)
            out.append((one.last_sequence, one.last_offset, one.offset_delta, one.timestamp))
        return out


@cython.final
cdef class Expected:
    """A transaction that may begin here, as soon as its coordinator has said so."""


@cython.final
cdef class ProducerStates:
    """All producers of one partition.

    `verify_transactions`: refuse a transactional batch of a producer that has no open transaction
    here (Kafka's transaction.partition.verification.enable).
    """

    def __cinit__(self, bint verify_transactions=True):
        self.entries = {}
        self.ongoing = {}
        self.unreplicated = {}
        self.expected = {}
        self.refused = {}
        self.first_unstable = -1
        self.verify_transactions = verify_transactions

    def __len__(self):
        return len(self.entries)

    # ---- hot lane ------------------------------------------------------------------------------

    cdef ProducerEntry find(self, int64_t producer_id):
        cdef ProducerEntry entry = self.last
        if entry is None or entry.producer_id != producer_id:
            entry = <ProducerEntry>self.entries.get(producer_id)
            if entry is not None:
                self.last = entry
        return entry

    cdef ProducerEntry find_or_add(self, int64_t producer_id):
        cdef ProducerEntry entry = self.find(producer_id)
        if entry is None:
            entry = ProducerEntry.__new__(ProducerEntry)
            entry.producer_id = producer_id
            self.entries[producer_id] = entry
            self.last = entry
        return entry

    cdef int64_t first_unstable_offset(self) noexcept:
        return self.first_unstable

    cdef int check(self, const BatchInfo* info, BatchMetadata* duplicate) except? -1000:
        cdef ProducerEntry entry = self.find(info.producer_id)
        cdef bint transactional = (info.attributes & ATTR_TRANSACTIONAL) != 0
        cdef int16_t epoch = NO_PRODUCER_EPOCH if entry is None else entry.producer_epoch
        cdef bint open_txn = entry is not None and entry.current_txn_first_offset >= 0
        cdef bint same_epoch = entry is not None and info.producer_epoch == epoch
        cdef int status
        if same_epoch and find_duplicate(entry, info, duplicate):
            return SEQUENCE_DUPLICATE
        if info.producer_epoch < epoch:
            return -ERROR_INVALID_PRODUCER_EPOCH
        if self.refused and self.is_behind_refused(info):
            return -ERROR_KAFKA_STORAGE_ERROR
        if transactional and self.verify_transactions and not (open_txn and same_epoch):
            status = self.check_verified(info, epoch)
            if status != SEQUENCE_OK:
                return status
        # Nothing known of the id (all of it expired or was deleted): any sequence may begin.
        if epoch != NO_PRODUCER_EPOCH:
            if info.producer_epoch != epoch:
                if info.base_sequence != 0:
                    return -ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER
            elif not in_sequence(entry.last_sequence(), info.base_sequence):
                return -ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER
        if open_txn and not transactional:
            return -ERROR_INVALID_TXN_STATE
        return SEQUENCE_OK

    cdef int note_refused(self, const BatchInfo* info) except -1:
        if len(self.refused) >= REFUSED_MAX:
            self.refused.clear()
        if info.base_sequence >= 0:  # (not one that the broker itself wrote)
            self.refused[info.producer_id] = [info.producer_epoch, info.base_sequence, BEHIND_MAX]
        return 0

    cdef bint is_behind_refused(self, const BatchInfo* info) except -1:
        cdef list refused = <list>self.refused.get(info.producer_id)
        if refused is None or refused[0] != info.producer_epoch or info.base_sequence <= refused[1]:
            return False
        refused[2] -= 1
        return refused[2] >= 0

    cdef int check_verified(self, const BatchInfo* info, int16_t epoch) except? -1000:
        cdef Expected expected = <Expected>self.expected.get(info.producer_id)
        if (
            expected is None
            or not expected.verified
            or expected.producer_epoch != info.producer_epoch
        ):
            return -ERROR_INVALID_TXN_STATE
        # Of a producer that is new here any sequence may come first, but not one that overtook the
        # batch before it, which failed on its way.
        if epoch != info.producer_epoch and info.base_sequence > expected.lowest_sequence:
            return -ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER
        return SEQUENCE_OK

    cdef int check_epoch(self, const BatchInfo* info) except? -1000:
        cdef ProducerEntry entry = self.find(info.producer_id)
        if entry is not None and info.producer_epoch < entry.producer_epoch:
            return -ERROR_INVALID_PRODUCER_EPOCH
        return SEQUENCE_OK

    cdef int update(self, const BatchInfo* info, int64_t base_offset, int64_t timestamp) except -1:
        cdef ProducerEntry entry
        cdef int64_t last_offset = base_offset + info.last_offset_delta
        if info.attributes & ATTR_CONTROL:
            raise InvariantError("a control batch is not a producer's data batch")
        if self.refused:
            self.refused.pop(info.producer_id, None)
        entry = self.find_or_add(info.producer_id)
        entry.set_epoch(info.producer_epoch)
        entry.add(last_sequence_of(info), last_offset, info.last_offset_delta, timestamp)
        if info.attributes & ATTR_TRANSACTIONAL and entry.current_txn_first_offset < 0:
            entry.current_txn_first_offset = base_offset
            self.ongoing[base_offset] = info.producer_id
            self.expected.pop(info.producer_id, None)
            if self.first_unstable < 0:
                self.first_unstable = base_offset
        self.map_end_offset = last_offset + 1
        return 0

    # ---- replay, markers -----------------------------------------------------------------------

    cdef int64_t update_batch(
        self,
        const uint8_t* data,
        const BatchInfo* info,
        int64_t base_offset,
        int64_t timestamp,
        bint* aborted,
    ) except -1000:
        cdef int32_t coordinator_epoch
        cdef int kind
        cdef int64_t first_offset = -1
        aborted[0] = False
        if info.producer_id >= 0:
            if not info.attributes & ATTR_CONTROL:
                self.update(info, base_offset, timestamp)
                return -1
            kind = control_type(data, info, &coordinator_epoch)
            # A control batch whose marker was cleaned away says nothing any more.
            if kind == CONTROL_ABORT or kind == CONTROL_COMMIT:
                aborted[0] = kind == CONTROL_ABORT
                first_offset = self.end_transaction(
                    info.producer_id, info.producer_epoch, coordinator_epoch, base_offset, timestamp
                )
        self.map_end_offset = base_offset + info.last_offset_delta + 1
        return first_offset

    cdef int64_t end_transaction(
        self,
        int64_t producer_id,
        int16_t producer_epoch,
        int32_t coordinator_epoch,
        int64_t offset,
        int64_t timestamp,
    ) except -1000:
        cdef ProducerEntry entry = self.find_or_add(producer_id)
        cdef int64_t first_offset = entry.current_txn_first_offset
        entry.set_epoch(producer_epoch)
        entry.coordinator_epoch = coordinator_epoch
        entry.last_timestamp = timestamp
        entry.current_txn_first_offset = -1
        self.expected.pop(producer_id, None)
        if first_offset >= 0:
            del self.ongoing[first_offset]
            self.unreplicated[first_offset] = offset
            self.refresh_first_unstable()
        return first_offset

    cdef int refresh_first_unstable(self) except -1:
        cdef int64_t first = -1
        for offset in self.ongoing:  # ascending: transactions open in the order of the log
            first = offset
            break
        for offset in self.unreplicated:
            if first < 0 or <int64_t>offset < first:
                first = offset
        self.first_unstable = first
        return 0

    def check_marker(
        self,
        int64_t producer_id,
        int16_t producer_epoch,
        int32_t coordinator_epoch,
        int transaction_version,
    ):
        """The leader's check of a marker of the transaction coordinator: 0 or an error code
        (INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED). From transaction version 2 on
        (KIP-890) a marker must raise the epoch, unless it repeats one that was written."""
        cdef ProducerEntry entry = self.find(producer_id)
        if entry is None:
            return 0
        if producer_epoch < entry.producer_epoch or (
            transaction_version >= 2
            and producer_epoch == entry.producer_epoch
            and entry.current_txn_first_offset >= 0
        ):
            return ERROR_INVALID_PRODUCER_EPOCH
        if coordinator_epoch < entry.coordinator_epoch:
            return ERROR_TRANSACTION_COORDINATOR_FENCED
        return 0

    def has_ended(self, int64_t producer_id, int16_t producer_epoch):
        """Whether a marker of this epoch was written and nothing of the producer came after it: the
        same marker again would say nothing."""
        cdef ProducerEntry entry = self.find(producer_id)
        return (
            entry is not None
            and entry.producer_epoch == producer_epoch
            and entry.coordinator_epoch >= 0
            and entry.current_txn_first_offset < 0
        )

    # ---- verification (KIP-890) ----------------------------------------------------------------

    def is_open(self, int64_t producer_id, int16_t producer_epoch):
        """Whether the producer has an open transaction here."""
        cdef ProducerEntry entry = self.find(producer_id)
        return (
            entry is not None
            and entry.producer_epoch == producer_epoch
            and entry.current_txn_first_offset >= 0
        )

    def may_write(self, int64_t producer_id, int16_t producer_epoch):
        """Whether it has one, or may begin one: verified()."""
        cdef Expected expected = <Expected>self.expected.get(producer_id)
        return self.is_open(producer_id, producer_epoch) or not self.verify_transactions or (
            expected is not None
            and expected.verified
            and expected.producer_epoch == producer_epoch
        )

    def expect(self, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence):
        """The coordinator is asked whether the producer's transaction has this partition. Returns
        what verified() wants; a marker that is written meanwhile makes it void."""
        cdef Expected expected = <Expected>self.expected.get(producer_id)
        if expected is None or expected.producer_epoch < producer_epoch:
            if len(self.expected) >= EXPECTED_MAX:
                del self.expected[next(iter(self.expected))]
            expected = Expected.__new__(Expected)
            expected.producer_epoch = producer_epoch
            expected.lowest_sequence = base_sequence
            self.expected[producer_id] = expected
        elif expected.producer_epoch > producer_epoch:
            return None
        elif base_sequence < expected.lowest_sequence:
            expected.lowest_sequence = base_sequence
        return expected

    def verified(self, int64_t producer_id, Expected expected not None):
        """The coordinator said yes: the next batch may begin the transaction. False: too late."""
        if self.expected.get(producer_id) is not expected:
            return False
        expected.verified = True
        return True

    def last_stable_offset_after(self, int64_t producer_id, int64_t marker_offset):
        """Last stable offset once the marker at `marker_offset` has ended the transaction of
        `producer_id`: what the transaction index records for an aborted one."""
        for first_offset, owner in self.ongoing.items():
            if owner != producer_id:
                return first_offset
        return marker_offset + 1

    def on_high_watermark(self, int64_t high_watermark):
        """Ended transactions whose marker is below the high watermark no longer hold the last
        stable offset back."""
        cdef list done
        if not self.unreplicated:
            return
        done = [first for first, last in self.unreplicated.items() if last < high_watermark]
        for first in done:
            del self.unreplicated[first]
        if done:
            self.refresh_first_unstable()

    # ---- storage -------------------------------------------------------------------------------

    def expire(self, int64_t now_ms, int64_t expiration_ms):
        """Forgets producers that are idle for `expiration_ms` and have no open transaction.
        Returns their ids."""
        cdef ProducerEntry entry
        cdef list gone = []
        for entry in self.entries.values():
            if entry.current_txn_first_offset < 0 and (
                now_ms - entry.last_timestamp >= expiration_ms
            ):
                gone.append(entry.producer_id)
        for producer_id in gone:
            del self.entries[producer_id]
        if gone:
            self.last = None
        return gone

    def truncate_fully_and_start_at(self, int64_t offset):
        """Forgets everything; the state covers offsets below `offset`."""
        self.entries.clear()
        self.ongoing.clear()
        self.unreplicated.clear()
        self.expected.clear()
        self.last = None
        self.first_unstable = -1
        self.map_end_offset = offset
        self.last_snapshot_offset = 0

    def on_log_start_offset(self, int64_t log_start_offset, int64_t latest_snapshot_offset=-1):
        """The log now begins at `log_start_offset`. `latest_snapshot_offset`: of the newest
        snapshot file that is left, -1 when there is none."""
        self.on_high_watermark(log_start_offset)
        if self.map_end_offset < log_start_offset:
            self.map_end_offset = log_start_offset
        self.last_snapshot_offset = (
            log_start_offset if latest_snapshot_offset < 0 else latest_snapshot_offset
        )

    def load(self, entries, int64_t offset):
        """Replaces the state by a snapshot's entries (see dump), which covers offsets below
        `offset`."""
        cdef ProducerEntry entry
        self.truncate_fully_and_start_at(offset)
        self.last_snapshot_offset = offset
        for producer_id, epoch, sequence, last, delta, timestamp, coordinator, first in entries:
            entry = self.find_or_add(producer_id)
            entry.producer_epoch = epoch
            if last >= 0:
                entry.add(sequence, last, delta, timestamp)
            entry.last_timestamp = timestamp
            entry.coordinator_epoch = coordinator
            entry.current_txn_first_offset = first
        for entry in sorted(self.entries.values(), key=txn_first_offset):
            if entry.current_txn_first_offset >= 0:
                self.ongoing[entry.current_txn_first_offset] = entry.producer_id
        self.refresh_first_unstable()

    def dump(self):
        """Entries as a snapshot keeps them: (producer id, epoch, last sequence, last offset, offset
        delta, timestamp, coordinator epoch, first offset of the open transaction)."""
        cdef ProducerEntry entry
        cdef const BatchMetadata* batch
        cdef BatchMetadata none = BatchMetadata(NO_SEQUENCE, -1, 0, -1)
        cdef list out = []
        for entry in self.entries.values():
            batch = entry.batch(entry.count - 1) if entry.count else &none
            out.append((
                entry.producer_id, entry.producer_epoch,
                batch.last_sequence, batch.last_offset, batch.offset_delta,
                entry.last_timestamp, entry.coordinator_epoch, entry.current_txn_first_offset,
            ))
        return out

    def dump_bytes(self):
        """dump() as the entries of a snapshot file, 46 bytes each. For a loop thread that cannot
        spend the time on a hundred thousand tuples."""
        cdef ProducerEntry entry
        cdef const BatchMetadata* batch
        cdef BatchMetadata none = BatchMetadata(NO_SEQUENCE, -1, 0, -1)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, len(self.entries) * ENTRY_SIZE)
        cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(out)
        for entry in self.entries.values():
            batch = entry.batch(entry.count - 1) if entry.count else &none
            at = wire_put_int64(at, entry.producer_id)
            at = wire_put_int16(at, entry.producer_epoch)
            at = wire_put_int32(at, batch.last_sequence)
            at = wire_put_int64(at, batch.last_offset)
            at = wire_put_int32(at, batch.offset_delta)
            at = wire_put_int64(at, entry.last_timestamp)
            at = wire_put_int32(at, entry.coordinator_epoch)
            at = wire_put_int64(at, entry.current_txn_first_offset)
        return out

    def note_snapshot(self, int64_t offset):
        """A snapshot file of the state below `offset` is on its way to the disk."""
        self.last_snapshot_offset = offset

    def advance_to(self, int64_t offset):
        """Batches without a producer were appended up to `offset`."""
        if offset > self.map_end_offset:
            self.map_end_offset = offset

    def active(self):
        """Rows of DescribeProducers."""
        cdef ProducerEntry entry
        return [
            ActiveProducer(
                entry.producer_id,
                entry.producer_epoch,
                entry.last_sequence(),
                entry.last_timestamp,
                entry.coordinator_epoch,
                entry.current_txn_first_offset,
            )
            for entry in self.entries.values()
        ]

    @property
    def first_unstable_offset_value(self):
        """First offset of transactions that are open or not yet replicated; -1: none."""
        return self.first_unstable

    def entry(self, int64_t producer_id):
        """The ProducerEntry of an id, None when it is not known."""
        return self.entries.get(producer_id)

    # ---- for Python callers (recovery, tests): the cdef functions on a parsed header -------------

    def check_header(self, BatchHeader header not None):
        """check(): (status, original first offset or -1, original last offset or -1, its timestamp
        or -1)."""
        cdef BatchMetadata duplicate = BatchMetadata(-1, -1, 0, -1)
        cdef int status = self.check(&header.info, &duplicate)
        if status != SEQUENCE_DUPLICATE:
            return status, -1, -1, -1
        return (
            status,
            duplicate.last_offset - duplicate.offset_delta,
            duplicate.last_offset,
            duplicate.timestamp,
        )

    def update_header(self, BatchHeader header not None, int64_t base_offset, int64_t timestamp):
        """update()."""
        self.update(&header.info, base_offset, timestamp)

    def replay(self, const uint8_t[::1] batch not None):
        """update_batch() with the base offset and max_timestamp that stand in the batch's header.
        Returns (first offset of the transaction that ended here or -1, whether it was aborted)."""
        cdef BatchInfo info
        cdef bint aborted = False
        cdef int64_t first_offset
        if batch.shape[0] < BATCH_OVERHEAD or (
            parse_header(&batch[0], <size_t>batch.shape[0], &info) != 0
            or info.size > batch.shape[0]
        ):
            raise ValueError("not a whole record batch")
        first_offset = self.update_batch(
            &batch[0], &info, info.base_offset, info.max_timestamp, &aborted
        )
        return first_offset, bool(aborted)


cdef bint find_duplicate(
    ProducerEntry entry, const BatchInfo* info, BatchMetadata* duplicate
) noexcept:
    cdef int32_t last_sequence = last_sequence_of(info)
    cdef const BatchMetadata* one
    cdef int i
    for i in range(entry.count - 1, -1, -1):
        one = entry.batch(i)
        if (
            one.last_sequence == last_sequence
            and add_sequence(info.base_sequence, one.offset_delta) == last_sequence
        ):
            if info.attributes & ATTR_TRANSACTIONAL and has_ended(entry, one):
                return False
            duplicate[0] = one[0]
            return True
    return False


cdef bint has_ended(ProducerEntry entry, const BatchMetadata* one) noexcept:
    """Whether the transaction of that batch has ended. Nobody awaits its answer any more: what
    comes with its sequence now is another batch (ADR 0035). A producer that had a marker knows the
    epoch of a coordinator, also after its state was loaded.
    """
    if entry.current_txn_first_offset < 0:
        return entry.coordinator_epoch >= 0
    return one.last_offset < entry.current_txn_first_offset


def txn_first_offset(ProducerEntry entry):
    return entry.current_txn_first_offset
