# CRC-32C (Castagnoli), SSE4.2 three-way interleaved where the CPU has it, table otherwise.
from libc.stdint cimport uint32_t

cdef uint32_t crc32c(uint32_t seed, const void* data, size_t n) noexcept nogil
