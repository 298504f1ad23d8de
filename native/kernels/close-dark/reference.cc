#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/close-dark.h"
#include "generated/dq.h"

namespace rampline::close_dark {

static bool Exceeds(double chi2, double dof, double limit, double z) {
  if (!(dof >= 1)) return false;
  const double h = 2 / (9 * dof);
  return chi2 > dof * std::max(limit, std::pow(1 - h + z * std::sqrt(h), 3));
}

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto mean = call.ports[kMean].view<const float>();
  for (int64_t row = 0; row < mean.rows; row++) {
    for (int64_t x = 0; x < mean.cols; x++) {
      const auto real = [&](Port port) {
        return static_cast<double>(call.ports[port].view<const float>().at(0, row)[x]);
      };
      const auto number = [&](Port port) { return call.ports[port].view<const uint16_t>().at(0, row)[x]; };
      const double m = real(kMean), w = real(kWeight), e = real(kExpected);
      const int n = number(kCount), out = number(kRejected), jumps = number(kJumped);
      const double raw = std::sqrt(std::max(real(kVariance), 0.0)) / w, chi2 = e > 1e-30f ? real(kScatter) * n / e : 0;
      const bool usable = n >= 1 && std::isfinite(m) && w > 0 && raw > 0 && std::isfinite(raw);
      const double f = Exceeds(chi2, n - 1, 1, params.inflateSigma) ? chi2 / (n - 1) : 1;
      const float missing = std::numeric_limits<float>::quiet_NaN();
      call.ports[kRate].view<float>().at(0, row)[x] = usable ? static_cast<float>(m) : missing;
      call.ports[kError].view<float>().at(0, row)[x] = usable ? static_cast<float>(raw * std::sqrt(f)) : missing;
      uint32_t& bits = call.ports[kDq].view<uint32_t>().at(0, row)[x];
      if (!usable) bits |= dq::kNoCalibration;
      if (Exceeds(chi2, n - 1, params.noisyScatter, params.noisySigma) ||
          Exceeds(real(kChi2Sum), real(kDofSum), params.noisyRamps, params.noisySigma)) {
        bits |= dq::kNoisy;
      }
      const int many = std::max(jumps, out);
      if (many >= params.telegraphLeast && many > params.telegraphShare * static_cast<float>(n + out)) {
        bits |= dq::kTelegraph;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::close_dark
