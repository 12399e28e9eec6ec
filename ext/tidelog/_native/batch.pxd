# Record batch v2 (KIP-98): header view, checks, record walk, stamping. Pure: bytes in, codes out; no Python objects, no I/O.
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
    int64_t offset_of_max_timestamp   # relative delta of the first record with max_timestamp; -1 unless the records were walked

cdef struct CheckLimits:         # from the topic's config
    int64_t max_message_bytes
    int64_t timestamp_before_max_ms
    int64_t timestamp_after_max_ms
    bint log_append_time         # message.timestamp.type
    bint compacted               # keyless records are refused
    int8_t target_codec          # -1 = 'producer' (keep what comes)

# Result of check_produce_batch: 0 or a Kafka error code, or one of these negative "not an error" answers.
cdef enum:
    CHECK_OK = 0
    CHECK_RECOMPRESS = -100      # compression.type asks for another codec: the slow lane (record/recompress.py) rebuilds the batch

# Why the last check failed: index into record.batch REASONS (short texts for the answer's error_message), and the first bad record.
cdef struct CheckFailure:
    int16_t error_code
    int16_t reason
    int32_t record_index         # -1: the batch as a whole

# Reads the 61 bytes; no CRC. Returns 0, or CORRUPT_MESSAGE(2) when n < 61, batch_length < 49, or magic != 2 / sizes inconsistent (n < size is allowed: returns 0, caller compares).
cdef int parse_header(const uint8_t* data, size_t n, BatchInfo* info) noexcept nogil
cdef bint crc_ok(const uint8_t* data, const BatchInfo* info) noexcept nogil

# All of the broker's checks for ONE produced batch that fills exactly `n` bytes (Kafka: exactly one batch per partition since Produce v3):
# sizes, magic, CRC32C, attributes, counts and deltas, timestamps, max.message.bytes, codec allowed for api_version (zstd from 7), and for uncompressed batches the
# walk over the record framing (varint lengths, offset deltas 0..n-1, timestamps -> offset_of_max_timestamp). Control batches from clients are refused.
cdef int check_produce_batch(const uint8_t* data, size_t n, int16_t api_version, int64_t now_ms, const CheckLimits* limits,
                             BatchInfo* info, CheckFailure* failure) noexcept nogil

# Walks uncompressed records. Returns 0 or an error code; fills info.offset_of_max_timestamp.
cdef int walk_records(const uint8_t* data, const BatchInfo* info, const CheckLimits* limits, int64_t now_ms, CheckFailure* failure) noexcept nogil

# In-place stamps outside the CRC.
cdef void stamp(uint8_t* data, int64_t base_offset, int32_t partition_leader_epoch) noexcept nogil
# LogAppendTime: sets the attribute bit and max_timestamp, recomputes the CRC.
cdef void stamp_log_append_time(uint8_t* data, size_t n, int64_t now_ms) noexcept nogil
