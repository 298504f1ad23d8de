#include <algorithm>

#include "generated/mock-scene.h"

namespace rampline::mock_scene {

static double Interpolated(const float* table, double z) {
  const double at = std::clamp((z + 12.0) * 100.0, 0.0, 2400.0);
  const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), 2399);
  return table[i] + (static_cast<double>(table[i + 1]) - table[i]) * (at - static_cast<double>(i));
}

Status Reference(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>();
  const auto width = call.ports[kWidth].view<const float>();
  const auto low = call.ports[kLow].view<const float>();
  const auto high = call.ports[kHigh].view<const float>();
  const auto left = call.ports[kLeft].view<const float>();
  const auto right = call.ports[kRight].view<const float>();
  const auto rate = call.ports[kRate].view<float>();
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols; x++) {
      const double t = static_cast<double>(call.origin.x + x) / 2047.0;
      const auto y = static_cast<double>(call.origin.row + row);
      double sum = rate.at(0, row)[x];
      for (int64_t fibre = 0; fibre < 300; fibre++) {
        if (y < low.data[fibre] || y > high.data[fibre]) continue;
        const double c = centre.at(0, fibre)[x], w = width.at(0, fibre)[x];
        const double first = (y - 0.5 - c) / w, last = (y + 0.5 - c) / w;
        const double atLeft = Interpolated(left.at(0, fibre), last) - Interpolated(left.at(0, fibre), first);
        const double atRight = Interpolated(right.at(0, fibre), last) - Interpolated(right.at(0, fibre), first);
        sum += flux.at(0, fibre)[x] * ((1.0 - t) * atLeft + t * atRight);
      }
      rate.at(0, row)[x] = static_cast<float>(sum);
    }
  }
  return Ok();
}

}  // namespace rampline::mock_scene
