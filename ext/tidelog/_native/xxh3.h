/* XXH3, 128 bits, seed 0, for the keys of records: what the Python package xxhash calls
 * xxh3_128_digest. The tests hold every length against that package.
 *
 * Plain C without vector instructions: keys are short, and for them there is nothing to vectorise.
 * No allocation, reads exactly [p, p + n), may run without the GIL. Little-endian machines only, as
 * the rest of the native code.
 */
#ifndef TIDELOG_XXH3_H
#define TIDELOG_XXH3_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t low;
    uint64_t high;
} tl_hash128;

#define TL_P32_1 0x9E3779B1u
#define TL_P32_2 0x85EBCA77u
#define TL_P32_3 0xC2B2AE3Du
#define TL_P64_1 0x9E3779B185EBCA87ull
#define TL_P64_2 0xC2B2AE3D27D4EB4Full
#define TL_P64_3 0x165667B19E3779F9ull
#define TL_P64_4 0x85EBCA77C2B2AE63ull
#define TL_P64_5 0x27D4EB2F165667C5ull

enum {
    TL_SECRET_BYTES = 192,
    TL_STRIPE_BYTES = 64,
    TL_STRIPES_IN_BLOCK = (TL_SECRET_BYTES - TL_STRIPE_BYTES) / 8,
    TL_BLOCK_BYTES = TL_STRIPE_BYTES * TL_STRIPES_IN_BLOCK,
    TL_LANES = 8
};

/* The algorithm's own constant. */
static const uint8_t tl_secret[TL_SECRET_BYTES] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static inline uint32_t tl_le32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint64_t tl_le64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* Two neighbouring words of the secret, folded. */
static inline uint64_t tl_flip(int at) { return tl_le64(tl_secret + at) ^ tl_le64(tl_secret + at + 8); }

static inline tl_hash128 tl_mul128(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    tl_hash128 r = {(uint64_t)product, (uint64_t)(product >> 64)};
    return r;
}

static inline uint64_t tl_fold(uint64_t a, uint64_t b) {
    tl_hash128 r = tl_mul128(a, b);
    return r.low ^ r.high;
}

static inline uint64_t tl_avalanche(uint64_t h) {
    h ^= h >> 37;
    h *= 0x165667919E3779F9ull;
    return h ^ (h >> 32);
}

/* The finish of XXH64, which the shortest inputs get. */
static inline uint64_t tl_avalanche64(uint64_t h) {
    h = (h ^ (h >> 33)) * TL_P64_2;
    h = (h ^ (h >> 29)) * TL_P64_3;
    return h ^ (h >> 32);
}

static inline tl_hash128 tl_xxh3_upto_3(const uint8_t *p, size_t n) {
    tl_hash128 r;
    uint32_t low, high;
    if (n == 0) {
        r.low = tl_avalanche64(tl_flip(64));
        r.high = tl_avalanche64(tl_flip(80));
        return r;
    }
    low = (uint32_t)p[0] << 16 | (uint32_t)p[n >> 1] << 24 | p[n - 1] | (uint32_t)n << 8;
    high = __builtin_bswap32(low);
    high = high << 13 | high >> 19;
    r.low = tl_avalanche64(low ^ (uint64_t)(tl_le32(tl_secret) ^ tl_le32(tl_secret + 4)));
    r.high = tl_avalanche64(high ^ (uint64_t)(tl_le32(tl_secret + 8) ^ tl_le32(tl_secret + 12)));
    return r;
}

static inline tl_hash128 tl_xxh3_upto_8(const uint8_t *p, size_t n) {
    uint64_t in = tl_le32(p) + ((uint64_t)tl_le32(p + n - 4) << 32);
    tl_hash128 r = tl_mul128(in ^ tl_flip(16), TL_P64_1 + ((uint64_t)n << 2));
    r.high += r.low << 1;
    r.low ^= r.high >> 3;
    r.low = (r.low ^ (r.low >> 35)) * 0x9FB21C651E98DF25ull;
    r.low ^= r.low >> 28;
    r.high = tl_avalanche(r.high);
    return r;
}

static inline tl_hash128 tl_xxh3_upto_16(const uint8_t *p, size_t n) {
    uint64_t low = tl_le64(p), high = tl_le64(p + n - 8);
    tl_hash128 m = tl_mul128(low ^ high ^ tl_flip(32), TL_P64_1), r;
    m.low += (uint64_t)(n - 1) << 54;
    high ^= tl_flip(48);
    m.high += high + (uint64_t)(uint32_t)high * (TL_P32_2 - 1);
    m.low ^= __builtin_bswap64(m.high);
    r = tl_mul128(m.low, TL_P64_2);
    r.high += m.high * TL_P64_2;
    r.low = tl_avalanche(r.low);
    r.high = tl_avalanche(r.high);
    return r;
}

static inline uint64_t tl_mix16(const uint8_t *p, int at) {
    return tl_fold(tl_le64(p) ^ tl_le64(tl_secret + at), tl_le64(p + 8) ^ tl_le64(tl_secret + at + 8));
}

static inline void tl_mix32(tl_hash128 *acc, const uint8_t *a, const uint8_t *b, int at) {
    acc->low += tl_mix16(a, at);
    acc->low ^= tl_le64(b) + tl_le64(b + 8);
    acc->high += tl_mix16(b, at + 16);
    acc->high ^= tl_le64(a) + tl_le64(a + 8);
}

static inline tl_hash128 tl_finish_mixed(tl_hash128 acc, size_t n) {
    tl_hash128 r;
    r.low = tl_avalanche(acc.low + acc.high);
    r.high = acc.low * TL_P64_1 + acc.high * TL_P64_4 + (uint64_t)n * TL_P64_2;
    r.high = 0 - tl_avalanche(r.high);
    return r;
}

static inline tl_hash128 tl_xxh3_upto_128(const uint8_t *p, size_t n) {
    tl_hash128 acc = {n * TL_P64_1, 0};
    int i;
    for (i = (int)(n - 1) / 32; i >= 0; i--)
        tl_mix32(&acc, p + 16 * i, p + n - 16 * (i + 1), 32 * i);
    return tl_finish_mixed(acc, n);
}

static inline tl_hash128 tl_xxh3_upto_240(const uint8_t *p, size_t n) {
    tl_hash128 acc = {n * TL_P64_1, 0};
    size_t i;
    for (i = 0; i < 128; i += 32) tl_mix32(&acc, p + i, p + i + 16, (int)i);
    acc.low = tl_avalanche(acc.low);
    acc.high = tl_avalanche(acc.high);
    for (i = 128; i + 32 <= n; i += 32) tl_mix32(&acc, p + i, p + i + 16, (int)(3 + i - 128));
    /* The last 32 bytes, the later half first. */
    tl_mix32(&acc, p + n - 16, p + n - 32, 136 - 17 - 16);
    return tl_finish_mixed(acc, n);
}

static inline void tl_stripe(uint64_t *acc, const uint8_t *p, int at) {
    int i;
    for (i = 0; i < TL_LANES; i++) {
        uint64_t value = tl_le64(p + 8 * i), key = value ^ tl_le64(tl_secret + at + 8 * i);
        acc[i ^ 1] += value;
        acc[i] += (uint64_t)(uint32_t)key * (key >> 32);
    }
}

static inline uint64_t tl_merge(const uint64_t *acc, int at, uint64_t start) {
    int i;
    for (i = 0; i < TL_LANES; i += 2)
        start += tl_fold(acc[i] ^ tl_le64(tl_secret + at + 8 * i),
                         acc[i + 1] ^ tl_le64(tl_secret + at + 8 * i + 8));
    return tl_avalanche(start);
}

static inline tl_hash128 tl_xxh3_long(const uint8_t *p, size_t n) {
    uint64_t acc[TL_LANES] = {TL_P32_3, TL_P64_1, TL_P64_2, TL_P64_3,
                              TL_P64_4, TL_P32_2, TL_P64_5, TL_P32_1};
    size_t stripes = (n - 1) / TL_STRIPE_BYTES, i;
    int lane;
    tl_hash128 r;
    for (i = 0; i < stripes; i++) {
        int in_block = (int)(i % TL_STRIPES_IN_BLOCK);
        tl_stripe(acc, p + i * TL_STRIPE_BYTES, 8 * in_block);
        /* Behind each whole block, but not behind one that is cut short. */
        if (in_block == TL_STRIPES_IN_BLOCK - 1)
            for (lane = 0; lane < TL_LANES; lane++) {
                uint64_t key = tl_le64(tl_secret + TL_SECRET_BYTES - TL_STRIPE_BYTES + 8 * lane);
                acc[lane] = (acc[lane] ^ (acc[lane] >> 47) ^ key) * TL_P32_1;
            }
    }
    tl_stripe(acc, p + n - TL_STRIPE_BYTES, TL_SECRET_BYTES - TL_STRIPE_BYTES - 7);
    r.low = tl_merge(acc, 11, (uint64_t)n * TL_P64_1);
    r.high = tl_merge(acc, TL_SECRET_BYTES - TL_STRIPE_BYTES - 11, ~((uint64_t)n * TL_P64_2));
    return r;
}

static inline tl_hash128 tl_xxh3_128(const uint8_t *p, size_t n) {
    if (n <= 3) return tl_xxh3_upto_3(p, n);
    if (n <= 8) return tl_xxh3_upto_8(p, n);
    if (n <= 16) return tl_xxh3_upto_16(p, n);
    if (n <= 128) return tl_xxh3_upto_128(p, n);
    if (n <= 240) return tl_xxh3_upto_240(p, n);
    return tl_xxh3_long(p, n);
}

#endif
