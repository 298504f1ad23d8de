// Quantised floating-point tiles and subtractive dithering (FITS 4.0, section 10.2 and appendix I).
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

enum class Dither : uint8_t { kNone = 0, kSubtractive1 = 1, kSubtractive2 = 2 };

inline constexpr int kRandomCount = 10000;           // length of the sequence
inline constexpr int32_t kDitherZero = -2147483646;  // SUBTRACTIVE_DITHER_2: this level is exactly 0.0

// The first 10000 numbers of the Park-Miller generator (a = 16807, m = 2^31 - 1, seed 1), as float32.
const float* RandomSequence();

struct Quantization {
  double scale = 1, zero = 0;
  Dither dither = Dither::kNone;
  // Position in the sequence: 0-based row of the tile + ZDITHER0 - 1.
  int64_t row = 0;
  bool hasBlank = false;
  int32_t blank = 0;
};

// `count` levels of `levelBytes` (1 unsigned, 2 or 4 signed, native-endian) to float32, or to float64 when wide. Blank
// levels become NaN. Bit for bit what cfitsio 4.2 computes.
Status Unquantize(const uint8_t* levels, size_t count, int levelBytes, const Quantization& q, bool wide, uint8_t* out,
                  size_t outBytes);

}  // namespace rampline
