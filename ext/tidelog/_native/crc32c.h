/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78).
 *
 * Two implementations behind one function pointer, chosen once by tl_crc32c_init():
 *   - hardware: the SSE4.2 crc32 instruction on three streams at a time. One instruction takes
 *     three cycles but a new one can start every cycle, so one stream reaches a third of what three
 *     do. The streams' registers are joined by a carry-less multiplication (PCLMULQDQ).
 *   - portable: eight tables, eight bytes a step.
 *
 * Plain C, no Python, no allocation. tl_crc32c_init() must run before anything else; later calls of
 * the rest may run without the GIL.
 */
#ifndef TIDELOG_CRC32C_H
#define TIDELOG_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TL_CRC32C_POLYNOMIAL 0x82f63b78u
/* Words of eight bytes per stream and round. Longer rounds gain nothing: joining costs about ten
 * cycles against the 384 of a full round. */
#define TL_CRC32C_ROUND_WORDS 128
/* Below this many words per stream one stream alone is as fast. */
#define TL_CRC32C_MIN_WORDS 4

typedef uint32_t (*tl_crc32c_fn)(uint32_t seed, const uint8_t *p, size_t n);

static uint32_t tl_crc32c_table[8][256];
/* tl_crc32c_shift[w]: factor that moves a register over w words (see tl_crc32c_hardware). */
static uint32_t tl_crc32c_shift[2 * TL_CRC32C_ROUND_WORDS + 1];
static tl_crc32c_fn tl_crc32c_active;

static uint32_t tl_crc32c_portable(uint32_t seed, const uint8_t *p, size_t n) {
    uint32_t crc = ~seed;
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        word ^= crc;
        crc = tl_crc32c_table[7][word & 0xff] ^ tl_crc32c_table[6][(word >> 8) & 0xff] ^
              tl_crc32c_table[5][(word >> 16) & 0xff] ^ tl_crc32c_table[4][(word >> 24) & 0xff] ^
              tl_crc32c_table[3][(word >> 32) & 0xff] ^ tl_crc32c_table[2][(word >> 40) & 0xff] ^
              tl_crc32c_table[1][(word >> 48) & 0xff] ^ tl_crc32c_table[0][word >> 56];
        p += 8;
        n -= 8;
    }
    while (n--) crc = tl_crc32c_table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return ~crc;
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define TL_CRC32C_HAVE_HARDWARE 1
#include <nmmintrin.h>
#include <wmmintrin.h>

static inline uint64_t tl_crc32c_load(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* Three streams of `words` words each. The registers of the first two are multiplied by x^(their
 * distance to the end) and enter through the last word of the third: crc32 of (word ^ product)
 * reduces the 64-bit product for free. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t tl_crc32c_round(
    uint64_t crc, const uint8_t *p, size_t words) {
    const uint8_t *p1 = p + words * 8, *p2 = p1 + words * 8;
    uint64_t crc1 = 0, crc2 = 0, joined;
    size_t i;
    __m128i a, b;
    for (i = 0; i + 1 < words; i++) {
        crc = _mm_crc32_u64(crc, tl_crc32c_load(p + 8 * i));
        crc1 = _mm_crc32_u64(crc1, tl_crc32c_load(p1 + 8 * i));
        crc2 = _mm_crc32_u64(crc2, tl_crc32c_load(p2 + 8 * i));
    }
    crc = _mm_crc32_u64(crc, tl_crc32c_load(p + 8 * i));
    crc1 = _mm_crc32_u64(crc1, tl_crc32c_load(p1 + 8 * i));
    a = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc),
                             _mm_cvtsi32_si128((int)tl_crc32c_shift[2 * words]), 0);
    b = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc1),
                             _mm_cvtsi32_si128((int)tl_crc32c_shift[words]), 0);
    joined = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(a, b));
    return _mm_crc32_u64(crc2, tl_crc32c_load(p2 + 8 * i) ^ joined);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t tl_crc32c_hardware(
    uint32_t seed, const uint8_t *p, size_t n) {
    uint64_t crc = (uint32_t)~seed;
    size_t words;
    while (n >= 24 * TL_CRC32C_ROUND_WORDS) {
        crc = tl_crc32c_round(crc, p, TL_CRC32C_ROUND_WORDS);
        p += 24 * TL_CRC32C_ROUND_WORDS;
        n -= 24 * TL_CRC32C_ROUND_WORDS;
    }
    words = n / 24;
    if (words >= TL_CRC32C_MIN_WORDS) {
        crc = tl_crc32c_round(crc, p, words);
        p += 24 * words;
        n -= 24 * words;
    }
    for (; n >= 8; p += 8, n -= 8) crc = _mm_crc32_u64(crc, tl_crc32c_load(p));
    if (n & 4) {
        uint32_t word;
        memcpy(&word, p, 4);
        crc = _mm_crc32_u32((uint32_t)crc, word);
        p += 4;
    }
    if (n & 2) {
        uint16_t word;
        memcpy(&word, p, 2);
        crc = _mm_crc32_u16((uint32_t)crc, word);
        p += 2;
    }
    if (n & 1) crc = _mm_crc32_u8((uint32_t)crc, *p);
    return ~(uint32_t)crc;
}
#endif

static int tl_crc32c_has_hardware(void) {
#ifdef TL_CRC32C_HAVE_HARDWARE
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
#else
    return 0;
#endif
}

/* Chooses the implementation. Returns 1 for hardware, 0 for portable. */
static int tl_crc32c_use_hardware(int wanted) {
#ifdef TL_CRC32C_HAVE_HARDWARE
    if (wanted && tl_crc32c_has_hardware()) {
        tl_crc32c_active = tl_crc32c_hardware;
        return 1;
    }
#endif
    (void)wanted;
    tl_crc32c_active = tl_crc32c_portable;
    return 0;
}

static void tl_crc32c_init(void) {
    uint32_t i, k, crc;
    for (i = 0; i < 256; i++) {
        crc = i;
        for (k = 0; k < 8; k++) crc = (crc >> 1) ^ (crc & 1 ? TL_CRC32C_POLYNOMIAL : 0);
        tl_crc32c_table[0][i] = crc;
    }
    for (k = 1; k < 8; k++) {
        for (i = 0; i < 256; i++) {
            crc = tl_crc32c_table[k - 1][i];
            tl_crc32c_table[k][i] = tl_crc32c_table[0][crc & 0xff] ^ (crc >> 8);
        }
    }
    /* In reflected order bit 31 is x^0. The product of two reflected 32-bit values comes out one
     * bit low in 64 bits, and the crc32 instruction itself multiplies by x^32: hence
     * x^(64 w - 33). For w = 1 that is x^31, and each further word is 64 steps on. */
    crc = 1;
    tl_crc32c_shift[0] = 0;
    for (i = 1; i <= 2 * TL_CRC32C_ROUND_WORDS; i++) {
        tl_crc32c_shift[i] = crc;
        for (k = 0; k < 64; k++) crc = (crc >> 1) ^ (crc & 1 ? TL_CRC32C_POLYNOMIAL : 0);
    }
    tl_crc32c_use_hardware(1);
}

#endif
