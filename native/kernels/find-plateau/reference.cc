#include <cmath>
#include <limits>
#include <vector>

#include "generated/find-plateau.h"
#include "native/kernels/find-plateau/limits.h"

namespace rampline::find_plateau {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto counts = call.ports[kCounts].view<const float>();
  const auto offsets = call.ports[kOffsets].view<const float>();
  const auto variance = call.ports[kReadVariance].view<const float>();
  const auto plateau = call.ports[kPlateau].view<float>();
  const int64_t n = counts.planes, start = n - p.window;
  for (int64_t row = 0; row < plateau.rows; row++) {
    for (int64_t x = 0; x < plateau.cols; x++) {
      float& out = plateau.at(0, row)[x];
      out = std::numeric_limits<float>::quiet_NaN();
      if (start < 0) continue;
      const int64_t amplifier = AmplifierOf(call.origin.x + x);
      bool good = true;
      double first = -kHuge, second = -kHuge, mean = 0;
      for (int64_t k = 0; k < n; k++) {
        const double z = counts.at(k, row)[x], step = k == 0 ? z : z - counts.at(k - 1, row)[x];
        good = good && std::isfinite(z);
        second = std::max(second, std::min(first, step));
        first = std::max(first, step);
        if (k >= start) mean += z / p.window;
      }
      for (int64_t k = start; k < n; k++) {
        good = good && std::abs(counts.at(k, row)[x] - mean) <= kSigmas * std::sqrt(double{variance.at(0, row)[x]});
      }
      const double last = counts.at(n - 1, row)[x], rise = std::abs(last - counts.at(start, row)[x]);
      if (!good || !(rise <= p.growth * (p.window - 1) * second) || !(second >= p.slowest)) continue;
      const bool full = last + offsets.at(n - 1, 0)[amplifier] >= kFull;
      out = full ? kConverterEnd : static_cast<float>(mean + MeanLevel(offsets, amplifier));
    }
  }
  return Ok();
}

}  // namespace rampline::find_plateau
