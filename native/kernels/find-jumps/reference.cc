#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/find-jumps.h"
#include "native/core/ramp.h"

namespace rampline::find_jumps {
namespace {

double TrimmedMean(const std::vector<double>& d, const std::vector<bool>& good) {
  double sum = 0, most = -std::numeric_limits<double>::max(), least = -most;
  int n = 0;
  for (size_t k = 0; k < d.size(); k++) {
    if (!good[k]) continue;
    sum += d[k];
    most = std::max(most, d[k]);
    least = std::min(least, d[k]);
    n++;
  }
  const double mean = n > 2 ? (sum - most - least) / (n - 2) : n > 0 ? sum / n : 0;
  return std::isfinite(mean) ? mean : 0;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto diffs = call.ports[kDiffs].view<float>();
  const size_t n = static_cast<size_t>(diffs.planes);
  std::vector<double> d(n), p(n), zd(n), z1(n), y(n), h(n), diag(n), next(n);
  std::vector<bool> good(n);
  for (int64_t row = 0; row < diffs.rows; row++) {
    for (int64_t x = 0; x < diffs.cols; x++) {
      uint16_t& jumps = call.ports[kJumps].view<uint16_t>().at(0, row)[x];
      float& rate = call.ports[kRate].view<float>().at(0, row)[x];
      const double g = call.ports[kGain].view<const float>().at(0, row)[x];
      const double v = call.ports[kReadVariance].view<const float>().at(0, row)[x];
      jumps = 0;
      if (!(ramp::Calibrated(g, v))) continue;
      int count = 0;
      for (size_t k = 0; k < n; k++) {
        d[k] = diffs.at(static_cast<int64_t>(k), row)[x];
        good[k] = !std::isnan(d[k]);
        count += good[k];
      }
      double start = rate;
      for (;;) {
        const double photons = std::max(start, 0.0) / (g * v);
        double p0 = 0, zd0 = 0, z0 = 0, c = 0, b = 0;
        for (size_t k = 0; k < n; k++) {
          p[k] = good[k] ? 1 / (photons + 2 - p0) : 0;
          zd0 = zd[k] = (good[k] ? d[k] - start : 0) + p0 * zd0;
          z0 = z1[k] = 1 + p0 * z0;
          p0 = p[k];
          c += p0 * z0 * z0;
          b += p0 * z0 * zd0;
        }
        const double change = c > 0 ? b / c : 0;
        double y0 = 0, h0 = 0, d0 = 0;
        for (size_t k = n; k-- > 0;) {  // y = T^-1 (d - rate), h = T^-1 1, diagonal and next to it
          next[k] = p[k] * d0;
          y0 = y[k] = p[k] * (zd[k] - change * z1[k] + y0);
          h0 = h[k] = p[k] * (z1[k] + h0);
          d0 = diag[k] = p[k] + p[k] * p[k] * d0;
        }
        double best = 0;
        size_t worst = 0;
        bool pair = false;
        const auto q = [&](size_t k) { return diag[k] - h[k] * h[k] / c; };
        for (size_t k = n; k-- > 0;) {
          if (!good[k]) continue;
          const double fall = y[k] * y[k] / q(k) / v;
          double fall2 = 0;
          if (params.twoOmit && count >= 4 && k + 1 < n && good[k + 1]) {
            const double off = next[k] - h[k] * h[k + 1] / c, det = q(k) * q(k + 1) - off * off;
            const double top = q(k + 1) * y[k] * y[k] - 2 * off * y[k] * y[k + 1] + q(k) * y[k + 1] * y[k + 1];
            fall2 = top / det / v - (static_cast<double>(params.twoThreshold) - params.oneThreshold);
          }
          // Of equals the later: see kClearly in kernel.cc.
          if (std::max(fall, fall2) > best * (params.twoOmit || best == 0 ? 1 : 1.001)) {
            best = std::max(fall, fall2);
            worst = k;
            pair = fall2 > fall;
          }
        }
        const bool hit = std::isfinite(start + change) && best > params.oneThreshold && count >= 3;
        if (!hit) {
          const float fitted = static_cast<float>(start + change);
          rate = std::isfinite(fitted) ? fitted : static_cast<float>(start);
          break;
        }
        for (size_t k = worst; k <= worst + pair; k++) {
          good[k] = false;
          diffs.at(static_cast<int64_t>(k), row)[x] = std::numeric_limits<float>::quiet_NaN();
          count--;
          jumps++;
        }
        start = TrimmedMean(d, good);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::find_jumps
