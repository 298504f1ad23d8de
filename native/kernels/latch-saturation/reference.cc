#include <algorithm>
#include <limits>

#include "generated/latch-saturation.h"

namespace rampline::latch_saturation {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto level = call.ports[kLevel].view<const float>();
  const auto unsaturated = call.ports[kUnsaturated].view<float>();
  const auto lastGood = call.ports[kLastGood].view<uint16_t>();
  for (int64_t row = 0; row < counts.rows; row++) {
    for (int64_t x = 0; x < counts.cols; x++) {
      const float limit = level.at(0, row)[x] * ParamsOf(call).fraction;  // float32: the decision must be the same
      int64_t good = 0;
      while (good < counts.planes && !(counts.at(good, row)[x] >= limit)) good++;
      for (int64_t k = 0; k < counts.planes; k++) {
        unsaturated.at(k, row)[x] = k < good ? counts.at(k, row)[x] : std::numeric_limits<float>::quiet_NaN();
      }
      lastGood.at(0, row)[x] = static_cast<uint16_t>(std::min<int64_t>(good, 65535));
    }
  }
  return Ok();
}

}  // namespace rampline::latch_saturation
