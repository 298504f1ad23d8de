#include <algorithm>

#include "generated/mock-scene.h"

namespace rampline::mock_scene {

static double Interpolated(const float* table, double z) {
  const double at = std::clamp((z + 15.5) * 100.0, 0.0, 3100.0);
  const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), 3099);
  return table[i] + (static_cast<double>(table[i + 1]) - table[i]) * (at - static_cast<double>(i));
}

Status Reference(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>();
  const auto low = call.ports[kLow].view<const float>();
  const auto high = call.ports[kHigh].view<const float>();
  const auto profile = call.ports[kProfile].view<const float>();
  const auto rate = call.ports[kRate].view<float>();
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols; x++) {
      double sum = 0;
      for (int64_t fibre = 0; fibre < 300; fibre++) {
        const double z = static_cast<double>(call.origin.row + row) - centre.at(0, fibre)[x];
        const auto y = static_cast<double>(call.origin.row + row);
        if (y < low.data[fibre] || y > high.data[fibre]) continue;
        const float* table = profile.at(0, fibre);
        sum += flux.at(0, fibre)[x] * (Interpolated(table, z + 0.5) - Interpolated(table, z - 0.5));
      }
      rate.at(0, row)[x] = static_cast<float>(sum);
    }
  }
  return Ok();
}

}  // namespace rampline::mock_scene
