#include "generated/mix-planes.h"

namespace rampline::mix_planes {

Status Reference(const KernelCall& call) {
  const auto values = call.ports[kValues].view<const float>();
  const auto weights = call.ports[kWeights].view<const double>();
  const auto sum = call.ports[kSum].view<double>();
  for (int64_t row = 0; row < sum.rows; row++) {
    for (int64_t x = 0; x < sum.cols; x++) {
      double here = 0;
      for (int64_t plane = values.planes - 1; plane >= 0; plane--) {
        here += static_cast<double>(values.at(plane, row)[x]) * weights.at(plane, row)[0];
      }
      sum.at(0, row)[x] = here;
    }
  }
  return Ok();
}

}  // namespace rampline::mix_planes
