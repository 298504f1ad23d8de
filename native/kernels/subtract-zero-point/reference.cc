#include "generated/subtract-zero-point.h"
#include "native/core/geometry.h"

namespace rampline::subtract_zero_point {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto offsets = call.ports[kOffsets].view<const float>();
  const auto zeroed = call.ports[kZeroed].view<float>();
  for (int64_t k = 0; k < counts.planes; k++) {
    for (int64_t row = 0; row < counts.rows; row++) {
      for (int64_t x = 0; x < counts.cols; x++) {
        const double offset = offsets.at(k, 0)[AmplifierOf(call.origin.x + x)];
        zeroed.at(k, row)[x] = static_cast<float>(counts.at(k, row)[x] - offset);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::subtract_zero_point
