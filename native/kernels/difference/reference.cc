#include "generated/difference.h"

namespace rampline::difference {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto differences = call.ports[kDifferences].view<float>();
  for (int64_t k = 1; k < counts.planes; k++) {
    for (int64_t row = 0; row < counts.rows; row++) {
      for (int64_t x = 0; x < counts.cols; x++) {
        differences.at(k - 1, row)[x] =
            static_cast<float>(static_cast<double>(counts.at(k, row)[x]) - counts.at(k - 1, row)[x]);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::difference
