#include <cmath>
#include <limits>

#include "generated/divide-model.h"

namespace rampline::divide_model {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto signal = call.ports[kSignal].view<const float>();
  const auto flags = call.ports[kFlags].view<const uint32_t>();
  for (int64_t row = 0; row < signal.rows; row++) {
    for (int64_t x = 0; x < signal.cols; x++) {
      const float m = call.ports[kModel].view<const float>().at(0, row)[x];
      const bool positive = m > 1e-15f && m < 1e30f;
      const float r = signal.at(0, row)[x] / m, e = call.ports[kSigma].view<const float>().at(0, row)[x] / m;
      const bool known = positive && std::abs(r) < 1e18f && e > 1e-15f && e < 1e15f;
      const bool flagged = flags.data != nullptr && (flags.at(0, row)[x] & static_cast<uint32_t>(params.skip)) != 0;
      const float missing = std::numeric_limits<float>::quiet_NaN();
      call.ports[kRatio].view<float>().at(0, row)[x] = known ? r : missing;
      call.ports[kRatioError].view<float>().at(0, row)[x] = known ? e : missing;
      const bool good = known && r >= params.low && r <= params.high && !flagged;
      call.ports[kBad].view<uint8_t>().at(0, row)[x] = good ? 0 : 1;
    }
  }
  return Ok();
}

}  // namespace rampline::divide_model
