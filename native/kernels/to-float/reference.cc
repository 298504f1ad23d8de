#include "generated/to-float.h"

namespace rampline::to_float {

Status Reference(const KernelCall& call) {
  const auto raw = call.ports[kRaw].view<const uint16_t>();
  const auto counts = call.ports[kCounts].view<float>();
  for (int64_t k = 0; k < raw.planes; k++) {
    for (int64_t row = 0; row < raw.rows; row++) {
      for (int64_t x = 0; x < raw.cols; x++) counts.at(k, row)[x] = raw.at(k, row)[x];
    }
  }
  return Ok();
}

}  // namespace rampline::to_float
