// Plain C++: it runs once for an exposure, and its cost is the look-up, not the arithmetic.
#include <algorithm>

#include "generated/mock-scene.h"

namespace rampline::mock_scene {

namespace {

constexpr int64_t kFibres = 300, kSamples = 2401;
constexpr double kReach = 12.0;  // px from the centre to the end of the table, at width 1
constexpr double kSamplesPerPixel = 100.0;
constexpr double kLastColumn = 2047.0;
constexpr int64_t kTile = 512;  // columns whose lower edges are kept

// Light below the position z. The position is in double: a float's step at the table's far end is 2e-4 samples.
float Cumulative(const float* left, const float* right, float part, double z) {
  const double at = (z + kReach) * kSamplesPerPixel;
  if (!(at > 0.0)) return left[0] + (right[0] - left[0]) * part;
  if (at >= static_cast<double>(kSamples - 1))
    return left[kSamples - 1] + (right[kSamples - 1] - left[kSamples - 1]) * part;
  const int32_t i = static_cast<int32_t>(at);
  const float within = static_cast<float>(at - i);
  const float a = left[i] + (left[i + 1] - left[i]) * within;
  const float b = right[i] + (right[i + 1] - right[i]) * within;
  return a + (b - a) * part;
}

}  // namespace

Status Run(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>();
  const auto width = call.ports[kWidth].view<const float>();
  const auto low = call.ports[kLow].view<const float>();
  const auto high = call.ports[kHigh].view<const float>();
  const auto left = call.ports[kLeft].view<const float>();
  const auto right = call.ports[kRight].view<const float>();
  const auto rate = call.ports[kRate].view<float>();
  if (rate.cols < 1) return Ok();
  float below[kTile], part[kTile];
  for (int64_t start = 0; start < rate.cols; start += kTile) {
    const int64_t n = std::min(kTile, rate.cols - start);
    for (int64_t i = 0; i < n; i++)
      part[i] = static_cast<float>(static_cast<double>(call.origin.x + start + i) / kLastColumn);
    for (int64_t fibre = 0; fibre < kFibres; fibre++) {
      const float* f = flux.at(0, fibre) + start;
      const float* c = centre.at(0, fibre) + start;
      const float* w = width.at(0, fibre) + start;
      const float* l = left.at(0, fibre);
      const float* r = right.at(0, fibre);
      bool begun = false;
      for (int64_t row = 0; row < rate.rows; row++) {
        const float y = static_cast<float>(call.origin.row + row);
        if (y < low.data[fibre] || y > high.data[fibre]) continue;
        const double edge = static_cast<double>(y) + 0.5;
        if (!begun) {
          for (int64_t i = 0; i < n; i++) below[i] = Cumulative(l, r, part[i], (edge - 1.0 - c[i]) / w[i]);
          begun = true;
        }
        float* out = rate.at(0, row) + start;
        for (int64_t i = 0; i < n; i++) {
          const float above = Cumulative(l, r, part[i], (edge - c[i]) / w[i]);
          out[i] += f[i] * (above - below[i]);
          below[i] = above;
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::mock_scene
