#include <cmath>

#include "generated/calibrate-rates.h"
#include "generated/dq.h"

namespace rampline::calibrate_rates {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto rate = call.ports[kRate].view<float>(), error = call.ports[kError].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto gain = call.ports[kGain].view<const float>(), persistence = call.ports[kPersistence].view<const float>();
  const auto in = [&](Port port, int64_t row, int64_t x) -> double {
    return call.ports[port].view<const float>().at(0, row)[x];
  };
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols; x++) {
      uint32_t& flags = dq.at(0, row)[x];
      if ((flags & dq::kReferencePixel) != 0) continue;
      const double scale = gain.data == nullptr ? params.scale : params.scale * double{gain.at(0, row)[x]};
      const double dark = in(kDark, row, x) * scale, darkError = in(kDarkError, row, x) * scale;
      const double flat = in(kFlat, row, x), flatError = in(kFlatError, row, x);
      flags |= call.ports[kDarkDq].view<const uint32_t>().at(0, row)[x];
      flags |= call.ports[kFlatDq].view<const uint32_t>().at(0, row)[x];
      double r = rate.at(0, row)[x], s = error.at(0, row)[x];
      if (std::isfinite(dark) && std::isfinite(darkError) && darkError >= 0) {
        r -= dark;
        s = std::sqrt(s * s + darkError * darkError);
      } else {
        flags |= dq::kNoDark | dq::kNoCalibration;
      }
      if (persistence.data != nullptr) {
        const double expected = double{persistence.at(0, row)[x]} * scale;
        if (expected > params.persistenceSigma * s) flags |= dq::kPersistence;
      }
      const double response = r / flat;
      const double spread = std::sqrt(s * s + response * flatError * response * flatError) / flat;
      if (flat > 0 && std::isfinite(flat) && flatError >= 0 && std::isfinite(static_cast<float>(response)) &&
          std::isfinite(static_cast<float>(spread))) {
        r = response;
        s = spread;
      } else {
        flags |= dq::kNoFlat | dq::kNoCalibration;
      }
      if ((flags & dq::kNoData) != 0) continue;
      rate.at(0, row)[x] = static_cast<float>(r);
      error.at(0, row)[x] = static_cast<float>(s);
    }
  }
  return Ok();
}

}  // namespace rampline::calibrate_rates
