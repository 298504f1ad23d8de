#include <algorithm>
#include <cmath>

#include "generated/dcs.h"
#include "native/core/ramp.h"
#include "generated/dq.h"

namespace rampline::dcs {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto diffs = call.ports[kDiffs].view<const float>();
  const auto jumps = call.ports[kJumps].view<const uint16_t>(), lastGood = call.ports[kLastGood].view<const uint16_t>();
  for (int64_t row = 0; row < diffs.rows; row++) {
    for (int64_t x = 0; x < diffs.cols; x++) {
      const double g = call.ports[kGain].view<const float>().at(0, row)[x];
      const double v = call.ports[kReadVariance].view<const float>().at(0, row)[x];
      const bool calibrated = ramp::Calibrated(g, v);
      double sum = 0;
      int good = 0, runs = 0;
      bool before = false;
      for (int64_t k = 0; k < diffs.planes; k++) {
        const double value = diffs.at(k, row)[x];
        const bool use = !std::isnan(value);
        if (use) sum += value;
        good += use;
        runs += use && !before;
        before = use;
      }
      double rate = 0, error = 0;
      bool usable = calibrated && good > 0;
      if (usable) {
        const double scale = params.unit == kElectronPerSecond ? g / params.readTimeSeconds : 1;
        rate = sum / good * scale;
        error = std::sqrt(2 * runs * v + std::max(sum, 0.0) / g) / good * scale;
        usable = std::isfinite(static_cast<float>(rate)) && std::isfinite(static_cast<float>(error)) &&
                 static_cast<float>(error) > 0;
      }
      uint32_t& flags = call.ports[kDq].view<uint32_t>().at(0, row)[x];
      flags |= dq::kNoChi2;
      if (!usable) flags |= dq::kNoData;
      if (!calibrated) flags |= dq::kNoCalibration;
      if (jumps.data != nullptr && jumps.at(0, row)[x] > 0) flags |= jumps.at(0, row)[x] > 1 ? dq::kJumps : dq::kJump;
      if (lastGood.data != nullptr && lastGood.at(0, row)[x] < diffs.planes + 1) {
        flags |= lastGood.at(0, row)[x] <= 1 ? dq::kSaturated : dq::kPartlySaturated;
      }
      call.ports[kRate].view<float>().at(0, row)[x] = usable ? static_cast<float>(rate) : 0.0f;
      call.ports[kError].view<float>().at(0, row)[x] = usable ? static_cast<float>(error) : 0.0f;
      call.ports[kChi2].view<float>().at(0, row)[x] = 0.0f;
      call.ports[kGoodDiffs].view<uint16_t>().at(0, row)[x] = static_cast<uint16_t>(calibrated ? good : 0);
    }
  }
  return Ok();
}

}  // namespace rampline::dcs
