// Plain C++: the order of the sums is part of the result, so one after the other.
#include <algorithm>

#include "generated/row-moments.h"

namespace rampline::row_moments {

Status Run(const KernelCall& call) {
  const auto value = call.ports[kValue].view<const float>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const auto low = call.ports[kLow].view<const float>();
  const auto high = call.ports[kHigh].view<const float>();
  const auto moments = call.ports[kMoments].view<double>();
  const int64_t quarter = std::max<int64_t>(value.cols / 4, 1);
  for (int64_t k = 0; k < value.planes; k++) {
    for (int64_t row = 0; row < value.rows; row++) {
      const float* v = value.at(k, row);
      const uint32_t* bits = dq.at(0, row);
      double* out = moments.at(k, row);
      for (int64_t a = 0; a < 4; a++) {
        const float from = low.at(k, 0)[a], to = high.at(k, 0)[a];
        const int64_t end = a == 3 ? value.cols : std::min(value.cols, (a + 1) * quarter);
        double n = 0, sum = 0, squares = 0;
        for (int64_t x = a * quarter; x < end; x++) {
          const bool counts = v[x] >= from && v[x] <= to && bits[x] == 0;  // false for NaN
          const double y = counts ? v[x] : 0.0f;
          n += counts ? 1.0 : 0.0;
          sum += y;
          squares += y * y;
        }
        out[3 * a] = n, out[3 * a + 1] = sum, out[3 * a + 2] = squares;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::row_moments
