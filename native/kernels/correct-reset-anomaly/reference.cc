#include "generated/correct-reset-anomaly.h"

namespace rampline::correct_reset_anomaly {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto amplitude = call.ports[kAmplitude].view<const float>();
  const auto decay = call.ports[kDecay].view<const float>();
  const auto settled = call.ports[kSettled].view<float>();
  for (int64_t k = 0; k < counts.planes; k++) {
    const double left = *decay.at(k, 0);
    for (int64_t row = 0; row < counts.rows; row++) {
      for (int64_t x = 0; x < counts.cols; x++) {
        settled.at(k, row)[x] = static_cast<float>(counts.at(k, row)[x] - left * amplitude.at(0, row)[x]);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::correct_reset_anomaly
