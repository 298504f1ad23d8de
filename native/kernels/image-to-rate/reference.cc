#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/image-to-rate.h"

namespace rampline::image_to_rate {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto counts = call.ports[kCounts].view<const int32_t>();
  const auto values = call.ports[kValues].view<const float>();
  const auto rate = call.ports[kRate].view<float>(), error = call.ports[kError].view<float>();
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols; x++) {
      double v = std::numeric_limits<double>::quiet_NaN();
      if (counts.data != nullptr) {
        v = counts.at(0, row)[x];
      } else if (values.data != nullptr) {
        v = values.at(0, row)[x];
      }
      v *= params.dnPerUnit;
      const double noise = static_cast<double>(params.readNoise) * params.readNoise * params.coadds;
      const double time = static_cast<double>(params.coadds) * params.seconds;
      const bool use = std::abs(v) < 1e18;
      const float missing = std::numeric_limits<float>::quiet_NaN();
      rate.at(0, row)[x] = use ? static_cast<float>(v / time) : missing;
      error.at(0, row)[x] =
          use ? static_cast<float>(std::sqrt(noise + params.gain * std::max(v, 0.0)) / (params.gain * time)) : missing;
    }
  }
  return Ok();
}

}  // namespace rampline::image_to_rate
