#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "generated/fit-ramp.h"
#include "native/core/ramp.h"

namespace rampline::fit_ramp {
namespace {

struct Fit {
  double rate = 0, ones = 0, chi2 = 0, squares = 0;  // squares: sum of the squared weights
};

// Thomas elimination, then back substitution for h = T^-1 1 and u = T^-1 d; T in units of the read variance.
Fit Solve(const std::vector<double>& d, const std::vector<bool>& good, double x) {
  const size_t n = d.size();
  std::vector<double> p(n), zd(n), z1(n), h(n), u(n);
  double p0 = 0, zd0 = 0, z0 = 0;
  for (size_t k = 0; k < n; k++) {
    p[k] = good[k] ? 1 / (x + 2 - p0) : 0;
    zd[k] = (good[k] ? d[k] : 0) + p0 * zd0;
    z1[k] = 1 + p0 * z0;
    p0 = p[k], zd0 = zd[k], z0 = z1[k];
  }
  double h0 = 0, u0 = 0, cross = 0, square = 0, hh = 0;
  Fit fit;
  for (size_t k = n; k-- > 0;) {
    h0 = h[k] = p[k] * (z1[k] + h0);
    u0 = u[k] = p[k] * (zd[k] + u0);
    if (!good[k]) continue;
    fit.ones += h[k];
    hh += h[k] * h[k];
    cross += u[k];
    square += d[k] * u[k];
  }
  if (fit.ones <= 0) return fit;
  fit.rate = cross / fit.ones;
  fit.chi2 = square - cross * fit.rate;
  fit.squares = hh / (fit.ones * fit.ones);
  return fit;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto diffs = call.ports[kDiffs].view<const float>();
  const auto at = [&](Port port, int64_t row, int64_t x) -> double {
    return call.ports[port].view<const float>().at(0, row)[x];
  };
  const auto jumps = call.ports[kJumps].view<const uint16_t>(), lastGood = call.ports[kLastGood].view<const uint16_t>();
  const int64_t n = diffs.planes;
  std::vector<double> d(static_cast<size_t>(n));
  std::vector<bool> good(d.size());
  for (int64_t row = 0; row < diffs.rows; row++) {
    for (int64_t x = 0; x < diffs.cols; x++) {
      const double g = at(kGain, row, x), v = at(kReadVariance, row, x);
      const bool calibrated = ramp::Calibrated(g, v);
      int count = 0;
      double start = at(kStart, row, x);
      for (int64_t k = 0; k < n; k++) {
        const size_t i = static_cast<size_t>(k);
        good[i] = !std::isnan(diffs.at(k, row)[x]);
        d[i] = static_cast<double>(diffs.at(k, row)[x]) - start;  // less the start: chi-square keeps its digits
        count += good[i];
      }
      double rate = 0, error = 0, chi2 = 0, last = start;
      bool usable = calibrated && count > 0;
      if (usable) {
        Fit fit;
        double photons = 0;
        for (int i = 0; i < params.iterations; i++) {
          photons = std::max(last, 0.0) / (g * v);
          fit = Solve(d, good, photons);
          last = start + fit.rate;
        }
        rate = last;
        if (params.debias && params.iterations == 1 && count > 1) {
          const double sigma = std::sqrt(v * (2 + count * photons)) / count;
          rate -= (fit.squares - 1.0 / count) / g * 0.5 * (1 + std::erf(rate / sigma / std::sqrt(2.0)));
        }
        error = std::sqrt(v / fit.ones);
        chi2 = std::max(0.0, fit.chi2 / v);
        if (params.unit == kElectronPerSecond) {
          rate *= g / params.readTimeSeconds;
          error *= g / params.readTimeSeconds;
        }
        usable = std::isfinite(static_cast<float>(rate)) && std::isfinite(static_cast<float>(error)) &&
                 std::isfinite(static_cast<float>(chi2)) && static_cast<float>(error) > 0;
      }
      if (!usable) rate = error = chi2 = 0;
      if (count < 2) chi2 = 0;
      uint32_t& flags = call.ports[kDq].view<uint32_t>().at(0, row)[x];
      if (!usable) flags |= dq::kNoData;
      if (!calibrated) flags |= dq::kNoCalibration;
      if (!usable || count < 2)
        flags |= dq::kNoChi2;
      else if (chi2 > static_cast<double>(params.maxReducedChi2) * (count - 1))
        flags |= dq::kBadChi2;
      if (jumps.data != nullptr && jumps.at(0, row)[x] > 0) flags |= jumps.at(0, row)[x] > 1 ? dq::kJumps : dq::kJump;
      if (lastGood.data != nullptr && lastGood.at(0, row)[x] < n + 1) {
        flags |= lastGood.at(0, row)[x] <= 1 ? dq::kSaturated : dq::kPartlySaturated;
      }
      call.ports[kRate].view<float>().at(0, row)[x] = static_cast<float>(rate);
      call.ports[kError].view<float>().at(0, row)[x] = static_cast<float>(error);
      call.ports[kChi2].view<float>().at(0, row)[x] = static_cast<float>(chi2);
      call.ports[kGoodDiffs].view<uint16_t>().at(0, row)[x] = static_cast<uint16_t>(calibrated ? count : 0);
    }
  }
  return Ok();
}

}  // namespace rampline::fit_ramp
