// What the SIMD kernel and its reference must agree on.
#pragma once

#include <cstdint>

namespace rampline::mock_read {

constexpr int32_t kStream = 2;
constexpr int64_t kAmplifierColumns = 512;
constexpr int64_t kOutputs = 5;  // four amplifiers and the reference output
constexpr int64_t kClocksPerKnot = 8;
constexpr int64_t kKnotsPerLine = 65;  // 512 pixels and 8 clocks of line overhead

// 1/f noise of one output along one row, by pixel clock, on straight lines between the knots. The 2nd and the 4th
// amplifier are read towards smaller x.
inline void Line(const float* knots, int64_t output, float* line) {
  const float* k = knots + output * kKnotsPerLine;
  const bool flipped = output == 1 || output == 3;
  for (int64_t j = 0; j + 1 < kKnotsPerLine; j++) {
    const float step = (k[j + 1] - k[j]) * 0.125f;
    for (int64_t i = 0; i < kClocksPerKnot; i++) {
      const int64_t clock = j * kClocksPerKnot + i;
      line[flipped ? kAmplifierColumns - 1 - clock : clock] = k[j] + step * static_cast<float>(i);
    }
  }
}

}  // namespace rampline::mock_read
