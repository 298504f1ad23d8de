#include <algorithm>
#include <cmath>

#include "generated/dq.h"
#include "generated/predict-persistence.h"

namespace rampline::predict_persistence {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto expected = call.ports[kExpected].view<float>();
  for (int64_t row = 0; row < expected.rows; row++) {
    for (int64_t x = 0; x < expected.cols; x++) {
      const double rate = call.ports[kRate].view<const float>().at(0, row)[x];
      const double amplitude = call.ports[kAmplitude].view<const float>().at(0, row)[x];
      const uint32_t flags = call.ports[kDq].view<const uint32_t>().at(0, row)[x];
      const bool full = (flags & (dq::kSaturated | dq::kNoData)) != 0;
      const double fluence =
          full ? params.well : std::min(std::max(rate, 0.0) * params.reads, static_cast<double>(params.well));
      const double added = amplitude * fluence * params.decay;
      if (std::isfinite(added) && !std::isnan(rate)) expected.at(0, row)[x] += static_cast<float>(added);
    }
  }
  return Ok();
}

}  // namespace rampline::predict_persistence
