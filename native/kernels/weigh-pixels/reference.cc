#include <algorithm>
#include <cmath>

#include "generated/weigh-pixels.h"

namespace rampline::weigh_pixels {

Status Reference(const KernelCall& call) {
  const auto skip = static_cast<uint32_t>(ParamsOf(call).skip);
  const double photons = ParamsOf(call).photons;
  const auto value = call.ports[kValue].view<const float>(), error = call.ports[kError].view<const float>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const auto ivar = call.ports[kIvar].view<float>();
  for (int64_t row = 0; row < value.rows; row++) {
    for (int64_t x = 0; x < value.cols; x++) {
      const double s = error.at(0, row)[x];
      const double own = photons * std::max(double{value.at(0, row)[x]}, 0.0);
      const auto weight = static_cast<float>(1.0 / std::max(s * s - own, s * s / 10));
      const bool counts = std::isfinite(value.at(0, row)[x]) && std::isfinite(s) && s > 0 && std::isfinite(weight) &&
                          (dq.at(0, row)[x] & skip) == 0;
      ivar.at(0, row)[x] = counts ? weight : 0.0f;
    }
  }
  return Ok();
}

}  // namespace rampline::weigh_pixels
