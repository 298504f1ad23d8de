// The read-out of the detectors that the reference-pixel kernels know: a HAWAII-2RG read through four amplifiers of 512
// columns, with the reference output, clocked at the same time, in 512 columns behind them. All indices are 0-based.
#pragma once

#include <cstdint>

namespace rampline {

constexpr int64_t kAmplifiers = 4;
constexpr int64_t kAmplifierColumns = 512;
constexpr int64_t kScienceColumns = kAmplifiers * kAmplifierColumns;
constexpr int64_t kReferenceColumns = 512;
constexpr int64_t kReadColumns = kScienceColumns + kReferenceColumns;
constexpr int64_t kBorder = 4;  // light-insensitive pixels on each side of the science columns and rows

// Columns to the right of the last amplifier count as its own: kernels of the science chain see science columns only.
constexpr int64_t AmplifierOf(int64_t x) { return x < kScienceColumns ? x / kAmplifierColumns : kAmplifiers - 1; }

// Amplifiers 1 and 3 are read from right to left.
constexpr bool IsFlipped(int64_t amplifier) { return (amplifier & 1) != 0; }

}  // namespace rampline
