#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/solve-saturation.h"

namespace rampline::solve_saturation {

Status Reference(const KernelCall& call) {
  const auto map = [&](size_t port) { return call.ports[port].view<const float>(); };
  const auto sums = map(kSums), weight = map(kWeight), variance = map(kReadVariance), level = map(kLevelError);
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto saturation = call.ports[kSaturation].view<float>(), error = call.ports[kError].view<float>();
  const auto window = static_cast<double>(ParamsOf(call).window);
  for (int64_t row = 0; row < dq.rows; row++) {
    for (int64_t x = 0; x < dq.cols; x++) {
      const double n = weight.at(0, row)[x];
      uint32_t& bits = dq.at(0, row)[x];
      if (bits == 0 && !(n > 0)) bits = static_cast<uint32_t>(dq::kNoCalibration);
      // 512 columns an amplifier; what lies beyond the fourth counts as its own.
      const double offset = level.data[std::clamp<int64_t>((call.origin.x + x) / 512, 0, 3)];
      const double missing = std::numeric_limits<double>::quiet_NaN();
      const double within = variance.at(0, row)[x] / (window * n);
      saturation.at(0, row)[x] = static_cast<float>(bits == 0 ? sums.at(0, row)[x] / n : missing);
      error.at(0, row)[x] = static_cast<float>(bits == 0 ? std::sqrt(within + offset * offset) : missing);
    }
  }
  return Ok();
}

}  // namespace rampline::solve_saturation
