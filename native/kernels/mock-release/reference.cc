// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include "generated/mock-release.h"

namespace rampline::mock_release {

Status Reference(const KernelCall& call) {
  const auto value = [&](size_t i, int64_t row, int64_t x) { return call.ports[i].view<const float>().at(0, row)[x]; };
  const auto out = call.ports[kNow].view<float>();
  for (int64_t row = 0; row < out.rows; row++) {
    for (int64_t x = 0; x < out.cols; x++) {
      const float rate = value(kRate, row, x);
      out.at(0, row)[x] = (rate > 0.0f ? rate : 0.0f) + value(kTrapped, row, x) * ParamsOf(call).decay;
    }
  }
  return Ok();
}

}  // namespace rampline::mock_release
