#include <algorithm>

#include "generated/row-moments.h"

namespace rampline::row_moments {

Status Reference(const KernelCall& call) {
  const auto value = call.ports[kValue].view<const float>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const auto low = call.ports[kLow].view<const float>();
  const auto high = call.ports[kHigh].view<const float>();
  const auto moments = call.ports[kMoments].view<double>();
  const int64_t quarter = std::max<int64_t>(value.cols / 4, 1);
  for (int64_t k = 0; k < value.planes; k++) {
    for (int64_t row = 0; row < value.rows; row++) {
      double* out = moments.at(k, row);
      std::fill_n(out, 12, 0.0);
      for (int64_t x = 0; x < value.cols; x++) {
        const int64_t a = std::min<int64_t>(x / quarter, 3);
        const double v = value.at(k, row)[x];
        if (!(v >= low.at(k, 0)[a] && v <= high.at(k, 0)[a]) || dq.at(0, row)[x] != 0) continue;
        out[3 * a] += 1;
        out[3 * a + 1] += v;
        out[3 * a + 2] += v * v;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::row_moments
