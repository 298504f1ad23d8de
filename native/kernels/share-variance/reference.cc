#include <algorithm>
#include <cmath>

#include "generated/share-variance.h"

namespace rampline::share_variance {

Status Reference(const KernelCall& call) {
  const auto ivar = call.ports[kIvar].view<const float>();
  const auto shared = call.ports[kShared].view<float>();
  for (int64_t row = 0; row < ivar.rows; row++) {
    const float* w = ivar.at(0, row);
    const auto counts = [&](int64_t x) { return w[x] > 0 && std::isfinite(w[x]) && std::isfinite(1.0f / w[x]); };
    for (int64_t x = 0; x < ivar.cols; x++) {
      double sum = 0;
      int64_t others = 0;
      const int64_t first = x - x % 16;
      for (int64_t other = first; other < std::min(first + 16, ivar.cols); other++) {
        if (other == x || !counts(other)) continue;
        sum += 1.0 / w[other];
        others++;
      }
      const double own = 1.0 / w[x], mean = sum / static_cast<double>(others);
      shared.at(0, row)[x] = !counts(x)                        ? 0.0f
                             : others == 0 || own > 4.0 * mean ? w[x]
                                                               : static_cast<float>(1.0 / mean);
    }
  }
  return Ok();
}

}  // namespace rampline::share_variance
