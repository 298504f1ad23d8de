#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/estimate-rate.h"

namespace rampline::estimate_rate {

Status Reference(const KernelCall& call) {
  const auto diffs = call.ports[kDiffs].view<const float>();
  const auto rate = call.ports[kRate].view<float>();
  for (int64_t row = 0; row < diffs.rows; row++) {
    for (int64_t x = 0; x < diffs.cols; x++) {
      double sum = 0, most = -std::numeric_limits<double>::max(), least = -most;
      int64_t n = 0;
      for (int64_t k = 0; k < diffs.planes; k++) {
        const double v = diffs.at(k, row)[x];
        if (std::isnan(v)) continue;
        sum += v;
        most = std::max(most, v);
        least = std::min(least, v);
        n++;
      }
      double mean = 0;
      if (n > 2)
        mean = (sum - most - least) / static_cast<double>(n - 2);
      else if (n > 0)
        mean = sum / static_cast<double>(n);
      rate.at(0, row)[x] = std::isfinite(mean) ? static_cast<float>(mean) : 0.0f;
    }
  }
  return Ok();
}

}  // namespace rampline::estimate_rate
