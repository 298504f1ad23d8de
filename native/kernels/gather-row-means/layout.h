// The table's columns: where each mean's pixels lie.
#pragma once

#include <cstdint>

#include "native/core/geometry.h"

namespace rampline::gather_row_means {

constexpr int64_t kMeans = 12;

struct Pixels {
  int64_t first, count;
  bool clamped;
};

constexpr Pixels PixelsOf(int64_t mean) {
  constexpr int64_t kHalf = kAmplifierColumns / 2;
  if (mean < 2) return {kScienceColumns + mean * kHalf, kHalf, true};
  if (mean == 2) return {0, kBorder, false};
  if (mean == 3) return {kScienceColumns - kBorder, kBorder, false};
  const int64_t amplifier = (mean - 4) / 2, half = (mean - 4) % 2;
  int64_t first = amplifier * kAmplifierColumns + (IsFlipped(amplifier) ? 1 - half : half) * kHalf;
  int64_t end = first + kHalf;
  if (first == 0) first = kBorder;
  if (end == kScienceColumns) end -= kBorder;
  return {first, end - first, true};
}

}  // namespace rampline::gather_row_means
