#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/take-flat.h"

namespace rampline::take_flat {

Status Reference(const KernelCall& call) {
  const auto rate = call.ports[kRate].view<const float>();
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols; x++) {
      const auto at = [&](Port port) -> double {
        const auto view = call.ports[port].view<const float>();
        return view.data == nullptr ? 0 : view.at(0, row)[x];
      };
      const double g = at(kGain), r = (at(kRate) - at(kDark)) * g;
      const double e = std::sqrt(at(kError) * at(kError) + at(kDarkError) * at(kDarkError)) * g;
      const uint32_t flags = dq::kNoData | dq::kSaturated | dq::kNoCalibration | dq::kReferencePixel;
      const bool clean = (call.ports[kDq].view<const uint32_t>().at(0, row)[x] & flags) == 0;
      const bool use = clean && g > 0 && at(kError) > 0 && std::abs(r) < 1e18 && e > 1e-15 && e < 1e15;
      const float missing = std::numeric_limits<float>::quiet_NaN();
      call.ports[kSignal].view<float>().at(0, row)[x] = use ? static_cast<float>(r) : missing;
      call.ports[kSigma].view<float>().at(0, row)[x] = use ? static_cast<float>(e) : missing;
    }
  }
  return Ok();
}

}  // namespace rampline::take_flat
