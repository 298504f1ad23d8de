// The ones' complement checksum of FITS 4.0, section 4.4.2.7 and appendix J.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rampline {

// Adds n bytes, which begin `offset` bytes into the stream, to the 32-bit ones' complement sum `state` (0 to begin with).
// Pieces may have any length and arrive in any order; only their offsets count.
uint32_t ChecksumAdd(uint32_t state, const uint8_t* bytes, size_t n, uint64_t offset);

// The sum of two streams that were summed apart (with their true offsets).
uint32_t ChecksumCombine(uint32_t a, uint32_t b);

// The 16 characters that make a sum of `value` (of its complement when `complement`), already rotated one place to the
// right as the card needs them. No terminating zero.
void ChecksumEncode(uint32_t value, bool complement, char out[16]);

// The inverse of ChecksumEncode.
uint32_t ChecksumDecode(const char text[16], bool complement);

}  // namespace rampline
