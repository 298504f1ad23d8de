#include <cmath>

#include "generated/row-step.h"

namespace rampline::row_step {

Status Reference(const KernelCall& call) {
  const auto above = call.ports[kAbove].view<const float>();
  for (int64_t row = 0; row < above.rows; row++) {
    for (int64_t x = 0; x < above.cols; x++) {
      const double a = above.at(0, row)[x], b = call.ports[kBelow].view<const float>().at(0, row)[x];
      const double ea = call.ports[kAboveError].view<const float>().at(0, row)[x];
      const double eb = call.ports[kBelowError].view<const float>().at(0, row)[x];
      const bool known = std::isfinite(a) && std::isfinite(b) && std::isfinite(ea) && std::isfinite(eb);
      const bool counts = known && ea > 0 && eb > 0;
      call.ports[kStep].view<float>().at(0, row)[x] = counts ? static_cast<float>(a - b) : 0;
      call.ports[kIvar].view<float>().at(0, row)[x] = counts ? static_cast<float>(1 / (ea * ea + eb * eb)) : 0;
    }
  }
  return Ok();
}

}  // namespace rampline::row_step
