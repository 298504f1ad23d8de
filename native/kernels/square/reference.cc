#include "generated/square.h"

namespace rampline::square {

Status Reference(const KernelCall& call) {
  const auto value = call.ports[kValue].view<const float>();
  const auto squared = call.ports[kSquared].view<float>();
  for (int64_t k = 0; k < value.planes; k++) {
    for (int64_t row = 0; row < value.rows; row++) {
      for (int64_t x = 0; x < value.cols; x++) {
        const double v = value.at(k, row)[x];
        squared.at(k, row)[x] = static_cast<float>(v * v);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::square
