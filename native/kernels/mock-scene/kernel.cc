// Plain C++: it runs once for an exposure, and its cost is the look-up, not the arithmetic.
#include <algorithm>

#include "generated/mock-scene.h"

namespace rampline::mock_scene {

namespace {

constexpr int64_t kFibres = 300, kSamples = 3101;
constexpr double kReach = 15.5;  // px from the centre to the end of the table
constexpr double kSamplesPerPixel = 100.0;

// The position is in double: a float's step at the table's far end is 2e-4 samples.
float Cumulative(const float* table, double z) {
  const double at = (z + kReach) * kSamplesPerPixel;
  if (!(at > 0.0)) return table[0];
  if (at >= static_cast<double>(kSamples - 1)) return table[kSamples - 1];
  const int32_t i = static_cast<int32_t>(at);
  return table[i] + (table[i + 1] - table[i]) * static_cast<float>(at - i);
}

}  // namespace

Status Run(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>();
  const auto low = call.ports[kLow].view<const float>();
  const auto high = call.ports[kHigh].view<const float>();
  const auto profile = call.ports[kProfile].view<const float>();
  const auto rate = call.ports[kRate].view<float>();
  if (rate.cols < 1) return Ok();
  for (int64_t row = 0; row < rate.rows; row++) std::fill_n(rate.at(0, row), rate.cols, 0.0f);
  for (int64_t fibre = 0; fibre < kFibres; fibre++) {
    const float* c = centre.at(0, fibre);
    for (int64_t row = 0; row < rate.rows; row++) {
      const float y = static_cast<float>(call.origin.row + row);
      if (y < low.data[fibre] || y > high.data[fibre]) continue;
      float* out = rate.at(0, row);
      for (int64_t x = 0; x < rate.cols; x++) {
        const double z = static_cast<double>(y) - c[x];
        const float part = Cumulative(profile.at(0, fibre), z + 0.5) - Cumulative(profile.at(0, fibre), z - 0.5);
        out[x] += flux.at(0, fibre)[x] * part;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::mock_scene
