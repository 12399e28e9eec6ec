# CRC-32C (Castagnoli), SSE4.2 three-way interleaved where the CPU has it, table otherwise.
# Importing the module chooses the implementation; both give the same values.
from libc.stdint cimport uint32_t

# CRC of n bytes, continued from `seed` (the CRC of what stands before them; 0 at the start).
cdef uint32_t crc32c(uint32_t seed, const void* data, size_t n) noexcept nogil
