// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include "generated/mock-trap.h"

namespace rampline::mock_trap {

Status Reference(const KernelCall& call) {
  const auto value = [&](size_t i, int64_t row, int64_t x) { return call.ports[i].view<const float>().at(0, row)[x]; };
  const auto out = call.ports[kTrapped].view<float>();
  for (int64_t row = 0; row < out.rows; row++) {
    for (int64_t x = 0; x < out.cols; x++) {
      const float rate = value(kRate, row, x);
      const float fluence = (rate > 0.0f ? rate : 0.0f) * static_cast<float>(ParamsOf(call).reads);
      const float well = value(kWell, row, x), square = well * well;
      const float bent = (well + value(kC2, row, x) * square) + value(kC3, row, x) * (square * well);
      const float full = bent * value(kGain, row, x);
      out.at(0, row)[x] = value(kTrap, row, x) * (fluence < full ? fluence : full);
    }
  }
  return Ok();
}

}  // namespace rampline::mock_trap
