#include <limits>

#include "generated/linearise.h"

namespace rampline::linearise {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto c2 = call.ports[kC2].view<const float>();
  const auto c3 = call.ports[kC3].view<const float>();
  const auto limit = call.ports[kLimit].view<const float>();
  const auto linear = call.ports[kLinear].view<float>();
  for (int64_t row = 0; row < counts.rows; row++) {
    for (int64_t x = 0; x < counts.cols; x++) {
      for (int64_t k = 0; k < counts.planes; k++) {
        const double v = counts.at(k, row)[x];
        const double y = v + c2.at(0, row)[x] * v * v + c3.at(0, row)[x] * v * v * v;
        linear.at(k, row)[x] =
            v <= limit.at(0, row)[x] ? static_cast<float>(y) : std::numeric_limits<float>::quiet_NaN();
      }
    }
  }
  return Ok();
}

}  // namespace rampline::linearise
