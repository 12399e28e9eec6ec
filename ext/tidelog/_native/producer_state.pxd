# Idempotent producers (KIP-98, KIP-360): per partition, the last five batches of every producer id;
# open transactions. Pure: time is an argument, no I/O. Owned by one LogCore; loop thread only (or
# the one recovery helper, before the log is in use).
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport BatchInfo

cdef enum:
    BATCHES_TO_RETAIN = 5
    NO_SEQUENCE = -1
    NO_PRODUCER_EPOCH = -1

cdef struct BatchMetadata:       # one retained batch
    int32_t last_sequence
    int64_t last_offset
    int32_t offset_delta         # last offset - first offset
    int64_t timestamp            # max_timestamp (or log append time)

cdef class ProducerEntry:
    cdef readonly int64_t producer_id
    cdef readonly int16_t producer_epoch
    cdef readonly int32_t coordinator_epoch          # -1: no marker seen
    cdef readonly int64_t last_timestamp             # for expiry; -1 when none
    cdef readonly int64_t current_txn_first_offset   # -1: no open transaction
    cdef BatchMetadata batches[BATCHES_TO_RETAIN]    # ring, oldest first at `head`
    cdef int head
    cdef int count
    cdef const BatchMetadata* batch(self, int i) noexcept    # 0 = oldest
    cdef int32_t last_sequence(self) noexcept                # -1 when none
    cdef void set_epoch(self, int16_t epoch) noexcept        # another epoch forgets the batches
    cdef void add(
        self, int32_t last_sequence, int64_t last_offset, int32_t offset_delta, int64_t timestamp
    ) noexcept

# Answer of check(): 0 = append it, 1 = duplicate (batch metadata in *duplicate), else a negated
# Kafka error code: -45 OUT_OF_ORDER_SEQUENCE_NUMBER, -47 INVALID_PRODUCER_EPOCH, -48
# INVALID_TXN_STATE, -56 KAFKA_STORAGE_ERROR (there was no room for an earlier batch). Kafka 4.3 has
# no other ones here: a producer id that is not known may start with any sequence, and a duplicate
# older than the retained batches is out of order.
cdef enum:
    SEQUENCE_OK = 0
    SEQUENCE_DUPLICATE = 1
    ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    ERROR_INVALID_PRODUCER_EPOCH = 47
    ERROR_INVALID_TXN_STATE = 48
    ERROR_TRANSACTION_COORDINATOR_FENCED = 52
    ERROR_KAFKA_STORAGE_ERROR = 56

cdef class Expected:
    cdef int16_t producer_epoch
    cdef int32_t lowest_sequence   # that was tried
    cdef bint verified

cdef class ProducerStates:
    cdef dict entries            # producer_id -> ProducerEntry
    cdef ProducerEntry last      # the entry found last: producers send in runs
    cdef dict ongoing            # first offset -> producer id of open transactions, ascending
    # First -> last offset of ended transactions whose marker is not below the high watermark.
    cdef dict unreplicated
    cdef dict expected           # producer id -> Expected
    # Producer id -> [epoch, sequence, answers left] of a batch that there was no room for: those
    # behind it are refused in the same way, and not as out of order, since librdkafka then begins a
    # new epoch and sends again what had been appended elsewhere and waited for replicas.
    cdef dict refused
    cdef int64_t first_unstable
    cdef readonly int64_t map_end_offset          # state covers offsets below this
    cdef readonly int64_t last_snapshot_offset
    cdef readonly bint verify_transactions        # transaction.partition.verification.enable
    cdef ProducerEntry find(self, int64_t producer_id)       # None when unknown
    cdef ProducerEntry find_or_add(self, int64_t producer_id)
    # First offset of open / not yet replicated transactions; -1 when there is none.
    cdef int64_t first_unstable_offset(self) noexcept
    # The leader's check of a client's data batch that has a producer id. A transactional batch is
    # refused unless its producer has an open transaction here, or the coordinator was asked and
    # said that it has one (expect(), verified()), or verification is off.
    cdef int check(self, const BatchInfo* info, BatchMetadata* duplicate) except? -1000
    # A batch that passed the check could not be written: there is no room.
    cdef int note_refused(self, const BatchInfo* info) except -1
    cdef bint is_behind_refused(self, const BatchInfo* info) except -1
    # 0, -45 or -48 for a batch that would begin a transaction; `epoch`: known of its producer
    cdef int check_verified(self, const BatchInfo* info, int16_t epoch) except? -1000
    # The check of batches that the broker itself writes for a producer (offset commits of
    # transactions): the epoch, no sequence. 0 or -47.
    cdef int check_epoch(self, const BatchInfo* info) except? -1000
    # Takes in a data batch that was appended, or is replayed or fetched from a leader: no checks.
    # Also moves map_end_offset. Control batches are for update_batch(): here an InvariantError.
    cdef int update(self, const BatchInfo* info, int64_t base_offset, int64_t timestamp) except -1
    # The same for any batch, `data` being its bytes: transaction markers end their transaction,
    # other control batches and batches without producer id only move map_end_offset. Returns the
    # first offset of the transaction that a marker ended, -1 if none; *aborted says how it ended.
    cdef int64_t update_batch(
        self,
        const uint8_t* data,
        const BatchInfo* info,
        int64_t base_offset,
        int64_t timestamp,
        bint* aborted,
    ) except -1000
    cdef int64_t end_transaction(
        self,
        int64_t producer_id,
        int16_t producer_epoch,
        int32_t coordinator_epoch,
        int64_t offset,
        int64_t timestamp,
    ) except -1000
    cdef int refresh_first_unstable(self) except -1
# def, used by storage/: see producer_state.pyi
