# Idempotent producers (KIP-98, KIP-360): per partition, the last five batches of every producer id; open transactions (kept for the transaction issue).
# Pure: time is an argument. Owned by one LogCore.
from libc.stdint cimport int16_t, int32_t, int64_t
from tidelog._native.batch cimport BatchInfo

cdef enum:
    BATCHES_TO_RETAIN = 5

cdef struct BatchMetadata:       # one retained batch
    int32_t last_sequence
    int64_t last_offset
    int32_t offset_delta         # last offset - first offset
    int64_t timestamp            # max_timestamp (or log append time)

cdef class ProducerEntry:
    cdef readonly int64_t producer_id
    cdef readonly int16_t producer_epoch
    cdef readonly int32_t coordinator_epoch
    cdef readonly int64_t last_timestamp          # for expiry
    cdef readonly int64_t current_txn_first_offset   # -1: no open transaction
    cdef BatchMetadata batches[5]                 # ring, oldest first at `head`
    cdef int head
    cdef int count
    cdef const BatchMetadata* batch(self, int i) noexcept    # 0 = oldest
    cdef int32_t last_sequence(self) noexcept                # -1 when none

# Answer of check(): 0 = append it, 1 = duplicate (batch metadata in *duplicate), else a negative Kafka error code:
# -45 OUT_OF_ORDER_SEQUENCE_NUMBER, -47 INVALID_PRODUCER_EPOCH, -59 UNKNOWN_PRODUCER_ID (as Kafka 4.3 uses them on the leader's client path).
cdef enum:
    SEQUENCE_OK = 0
    SEQUENCE_DUPLICATE = 1

cdef class ProducerStates:
    cdef dict entries            # producer_id -> ProducerEntry
    cdef readonly int64_t map_end_offset          # state covers offsets below this
    cdef readonly int64_t last_snapshot_offset
    # First offsets of open / not yet replicated transactions (later issue); -1 when there is none.
    cdef int64_t first_unstable_offset(self) noexcept
    # `from_client`: the leader's check; False on replay and follower append (no sequence check).
    cdef int check(self, const BatchInfo* info, BatchMetadata* duplicate) except? -1000
    cdef int update(self, const BatchInfo* info, int64_t base_offset, int64_t timestamp) except -1
    # def, used by storage/: expire(now_ms, expiration_ms) -> list[int]; truncate_fully_and_start_at(offset); load(entries); dump() -> list[tuple]; active() -> describe rows
