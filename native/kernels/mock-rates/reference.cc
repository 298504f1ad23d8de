// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include <cmath>

#include "generated/mock-rates.h"
#include "native/core/random.h"

namespace rampline::mock_rates {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto light = call.ports[kLight].view<const float>();
  const auto exact = call.ports[kExact].view<float>();
  const auto rate = call.ports[kRate].view<float>();
  const auto ivar = call.ports[kIvar].view<float>();
  const random::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  const float perPhoton = 1.0f / (p.gain * static_cast<float>(p.differences));
  uint32_t bits[random::kSegment];
  for (int64_t row = 0; row < light.rows; row++) {
    int64_t made = -1;
    for (int64_t x = 0; x < light.cols; x++) {
      const int64_t at = call.origin.x + x, segment = at / random::kSegment;
      if (segment != made) random::RowBits(key, p.stream, 0, call.origin.row + row, segment, bits);
      made = segment;
      const float mean = light.at(0, row)[x] / p.gain;
      const float variance = (mean > 0.0f ? mean : 0.0f) * perPhoton + p.readVariance;
      const float deviate = std::sqrt(variance) * random::Normal(bits[at % random::kSegment]);
      const float seen = p.noise ? mean + deviate : mean;
      const float told = (seen > 0.0f ? seen : 0.0f) * perPhoton + p.readVariance;
      exact.at(0, row)[x] = mean;
      rate.at(0, row)[x] = seen;
      ivar.at(0, row)[x] = 1.0f / (p.measured ? told : variance);
    }
  }
  return Ok();
}

}  // namespace rampline::mock_rates
