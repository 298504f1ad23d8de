// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include "generated/mock-photons.h"
#include "native/core/random.h"
#include "native/kernels/mock-photons/limits.h"

namespace rampline::mock_photons {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto rate = call.ports[kRate].view<const float>();
  const auto charge = call.ports[kCharge].view<float>();
  const random::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  uint32_t bits[random::kSegment];
  for (int64_t row = 0; row < rate.rows; row++) {
    int64_t made = -1;
    for (int64_t x = 0; x < rate.cols; x++) {
      const int64_t at = call.origin.x + x, segment = at / random::kSegment;
      if (segment != made) random::RowBits(key, kStream, p.read, call.origin.row + row, segment, bits);
      made = segment;
      const float mean = rate.at(0, row)[x];
      if (!(mean > 0.0f)) continue;
      float& total = charge.at(0, row)[x];
      const float sum = total + (p.noise ? random::Poisson(mean, bits[at % random::kSegment]) : mean);
      total = sum < kChargeLimit ? sum : kChargeLimit;
    }
  }
  return Ok();
}

}  // namespace rampline::mock_photons
