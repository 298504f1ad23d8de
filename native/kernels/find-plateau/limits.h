// What the SIMD kernel and its reference must agree on.
#pragma once

#include <algorithm>
#include <cstdint>

#include "native/core/array.h"

namespace rampline::find_plateau {

constexpr int64_t kAmplifiers = 4, kAmplifierColumns = 512;
constexpr float kConverterEnd = 65535.0f;
constexpr float kFull = 65534.0f;  // a zero point is no whole number, so the sum may miss the end by a little
constexpr float kSigmas = 6.0f;
constexpr float kHuge = 1e30f;

// Columns beyond the fourth amplifier count as its own, as in subtract-zero-point.
inline int64_t AmplifierOf(int64_t x) { return std::clamp<int64_t>(x / kAmplifierColumns, 0, kAmplifiers - 1); }

inline float MeanLevel(const View<const float>& offsets, int64_t amplifier) {
  double sum = 0;
  for (int64_t k = 0; k < offsets.planes; k++) sum += offsets.at(k, 0)[amplifier];
  return static_cast<float>(sum / static_cast<double>(offsets.planes));
}

}  // namespace rampline::find_plateau
