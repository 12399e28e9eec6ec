# Record batch v2 (KIP-98): header view, checks, record walk, stamping. Pure: bytes in, codes out;
# the cdef functions make no Python object, allocate nothing, do no I/O, may run without the GIL.
#
#   offset size field                      offset size field
#        0    8 base_offset                    27    8 base_timestamp
#        8    4 batch_length (after this)      35    8 max_timestamp
#       12    4 partition_leader_epoch         43    8 producer_id
#       16    1 magic (2)                      51    2 producer_epoch
#       17    4 crc (CRC32C from 21 on)        53    4 base_sequence
#       21    2 attributes                     57    4 records_count
#       23    4 last_offset_delta              61      records
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t

cdef enum:
    BATCH_OVERHEAD = 61
    LOG_OVERHEAD = 12
    MAGIC_V2 = 2
    ATTR_CODEC_MASK = 0x07
    ATTR_LOG_APPEND_TIME = 0x08
    ATTR_TRANSACTIONAL = 0x10
    ATTR_CONTROL = 0x20
    ATTR_DELETE_HORIZON = 0x40

cdef enum:
    CODEC_NONE = 0
    CODEC_GZIP = 1
    CODEC_SNAPPY = 2
    CODEC_LZ4 = 3
    CODEC_ZSTD = 4
    CODEC_PRODUCER = -1          # CheckLimits.target_codec: keep what comes

# The error codes that a check of a batch may end with.
cdef enum:
    ERROR_UNKNOWN_SERVER = -1
    ERROR_CORRUPT_MESSAGE = 2
    ERROR_MESSAGE_TOO_LARGE = 10
    ERROR_INVALID_TIMESTAMP = 32
    ERROR_UNSUPPORTED_COMPRESSION_TYPE = 76
    ERROR_INVALID_RECORD = 87

cdef struct BatchInfo:
    int64_t base_offset
    int64_t size                 # whole batch: 12 + batch_length
    int32_t partition_leader_epoch
    int8_t magic
    uint32_t crc
    int16_t attributes
    int32_t last_offset_delta
    int64_t base_timestamp
    int64_t max_timestamp
    int64_t producer_id
    int16_t producer_epoch
    int32_t base_sequence
    int32_t records_count
    # Delta of the first record with max_timestamp; -1 unless the records were walked.
    int64_t offset_of_max_timestamp
    # attributes or max_timestamp here differ from the bytes: stamp_checked() writes them.
    bint restamp

cdef struct CheckLimits:         # from the topic's config
    int64_t max_message_bytes
    int64_t timestamp_before_max_ms
    int64_t timestamp_after_max_ms
    bint log_append_time         # message.timestamp.type
    bint compacted               # keyless records are refused
    int8_t target_codec          # of compression.type; CODEC_PRODUCER: keep what comes

# Result of check_produce_batch: 0, a Kafka error code, or CHECK_RECOMPRESS, which is no error: the
# slow lane (record/recompress.py) must open or rebuild the batch, because compression.type asks for
# another codec, or because the records of a compressed batch have to be seen (compacted topic, a
# timestamp in doubt).
cdef enum:
    CHECK_OK = 0
    CHECK_RECOMPRESS = -100

# Why the last check failed: a value of record/reasons.py (a REASON_* below), the first bad record.
cdef struct CheckFailure:
    int16_t error_code
    int16_t reason
    int32_t record_index         # -1: the batch as a whole

cdef enum:
    REASON_NONE = 0
    REASON_NO_BATCH = 1          # no complete batch in the bytes
    REASON_SIZE_FIELD = 2
    REASON_MAGIC_UNKNOWN = 3
    REASON_MAGIC_OLD = 4         # 0 or 1
    REASON_ZSTD_VERSION = 5
    REASON_SEVERAL_BATCHES = 6
    REASON_BASE_OFFSET = 7
    REASON_TOO_LARGE = 8
    REASON_CRC = 9
    REASON_CODEC_UNKNOWN = 10
    REASON_OFFSET_RANGE = 11     # last_offset_delta < 0
    REASON_COUNT = 12            # records_count < 1
    REASON_COUNT_MISMATCH = 13
    REASON_CONTROL = 14
    REASON_SEQUENCE = 15         # producer id without a sequence
    REASON_RECORD_FRAMING = 16   # a length or varint that does not fit its record
    REASON_OFFSET_DELTA = 17
    REASON_RECORDS_LEFT = 18     # bytes behind the last record
    REASON_KEY_MISSING = 19
    REASON_TIMESTAMP_RANGE = 20
    REASON_TIMESTAMP_TYPE = 21   # the producer says LogAppendTime

# Reads the 61 bytes; no CRC. Returns 0, or CORRUPT_MESSAGE when n < 61, batch_length < 49 or
# magic != 2. The batch may be longer than n: the caller compares.
cdef int parse_header(const uint8_t* data, size_t n, BatchInfo* info) noexcept nogil
# The caller has made sure that info.size bytes are there.
cdef bint crc_ok(const uint8_t* data, const BatchInfo* info) noexcept nogil

# All of the leader's checks for ONE produced batch in `n` bytes (exactly one batch per partition
# since Produce v3): sizes, magic, CRC32C, attributes, counts and deltas, timestamps,
# max.message.bytes, the codec for api_version (zstd from 7), and for uncompressed batches the walk
# over the records. Control batches from clients are refused.
#   - Transactional batches are not refused here: that is a gate of the lane, and for
#     ProducerStates.check.
#   - On CHECK_OK, append info.size bytes, NOT n: as Kafka does, trailing bytes that are no whole
#     batch are cut off.
#   - On CHECK_OK, info.max_timestamp and info.attributes are what the batch has to say (now_ms with
#     LogAppendTime; the true maximum where the producer's was wrong); stamp_checked() writes them.
cdef int check_produce_batch(
    const uint8_t* data,
    size_t n,
    int16_t api_version,
    int64_t now_ms,
    const CheckLimits* limits,
    BatchInfo* info,
    CheckFailure* failure,
) noexcept nogil

# Walks the uncompressed records of a whole batch. Returns 0 or an error code; fills
# info.offset_of_max_timestamp and corrects info.max_timestamp (see restamp).
cdef int walk_records(
    const uint8_t* data,
    BatchInfo* info,
    const CheckLimits* limits,
    int64_t now_ms,
    CheckFailure* failure,
) noexcept nogil
# The same over records that stand by themselves (decompressed): n bytes at `records`.
cdef int walk_payload(
    const uint8_t* records,
    size_t n,
    BatchInfo* info,
    const CheckLimits* limits,
    int64_t now_ms,
    CheckFailure* failure,
) noexcept nogil

# The type of a control batch's first record (0 abort, 1 commit, ...), -1 if there is none;
# *coordinator_epoch is -1 for types without one.
cdef int control_type(
    const uint8_t* data, const BatchInfo* info, int32_t* coordinator_epoch
) noexcept nogil

# In-place stamps outside the CRC.
cdef void stamp(uint8_t* data, int64_t base_offset, int32_t partition_leader_epoch) noexcept nogil
# stamp() for a batch that passed check_produce_batch: also writes what `restamp` asks for.
cdef void stamp_checked(
    uint8_t* data, const BatchInfo* info, int64_t base_offset, int32_t partition_leader_epoch
) noexcept nogil
# LogAppendTime: sets the attribute bit and max_timestamp, recomputes the CRC. n: size of the batch.
cdef void stamp_log_append_time(uint8_t* data, size_t n, int64_t now_ms) noexcept nogil
# Writes attributes, max_timestamp and a new CRC. n: size of the batch.
cdef void stamp_timestamp_type(
    uint8_t* data, size_t n, int16_t attributes, int64_t max_timestamp
) noexcept nogil

# A header for Python callers; see batch.pyi for its properties.
cdef class BatchHeader:
    cdef BatchInfo info
# CheckLimits from a tuple of its fields in their order.
cdef CheckLimits limits_of(tuple limits) except *
