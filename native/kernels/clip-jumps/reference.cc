#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/clip-jumps.h"

namespace rampline::clip_jumps {
namespace {

// Type 7 (Hyndman and Fan 1996): linear between the ranks around (n - 1) fraction.
double Quantile(const std::vector<double>& sorted, double fraction) {
  const double h = static_cast<double>(sorted.size() - 1) * fraction;
  const size_t rank = static_cast<size_t>(h), next = std::min(rank + 1, sorted.size() - 1);
  return sorted[rank] + (h - static_cast<double>(rank)) * (sorted[next] - sorted[rank]);
}

double TrimmedMean(const std::vector<double>& sorted) {
  const size_t skip = sorted.size() > 2 ? 1 : 0;
  double sum = 0;
  for (size_t k = skip; k + skip < sorted.size(); k++) sum += sorted[k];
  const size_t n = sorted.size() - 2 * skip;
  const double mean = n > 0 ? sum / static_cast<double>(n) : 0;
  return std::isfinite(mean) ? mean : 0;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const double sigmas = ParamsOf(call).sigmas;
  const auto diffs = call.ports[kDiffs].view<float>();
  std::vector<double> good;
  for (int64_t row = 0; row < diffs.rows; row++) {
    for (int64_t x = 0; x < diffs.cols; x++) {
      good.clear();
      for (int64_t k = 0; k < diffs.planes; k++) {
        const float v = diffs.at(k, row)[x];
        if (!std::isnan(v)) good.push_back(v);
      }
      double sum = 0;
      for (const double v : good) sum += v;
      std::sort(good.begin(), good.end());
      uint16_t jumps = 0;
      const double iqr = good.size() > 2 ? Quantile(good, 0.75) - Quantile(good, 0.25) : 0;
      if (iqr > 0) {
        const double cut = sum / static_cast<double>(good.size()) + sigmas * iqr / 1.34896;
        for (int64_t k = 0; k < diffs.planes; k++) {
          float& v = diffs.at(k, row)[x];
          if (!(v >= cut)) continue;
          v = std::numeric_limits<float>::quiet_NaN();
          jumps++;
        }
        good.erase(std::lower_bound(good.begin(), good.end(), cut), good.end());
      }
      call.ports[kRate].view<float>().at(0, row)[x] = static_cast<float>(TrimmedMean(good));
      call.ports[kJumps].view<uint16_t>().at(0, row)[x] = jumps;
    }
  }
  return Ok();
}

}  // namespace rampline::clip_jumps
