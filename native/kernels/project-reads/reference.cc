#include <cmath>
#include <limits>

#include "generated/project-reads.h"

namespace rampline::project_reads {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto counts = call.ports[kCounts].view<const float>();
  const auto table = call.ports[kTable].view<const float>();
  const auto gain = call.ports[kGain].view<const float>();
  const auto variance = call.ports[kReadVariance].view<const float>();
  const auto terms = call.ports[kTerms].view<float>();
  const int64_t planes = counts.planes, tested = planes - 1 - p.from;
  for (int64_t row = 0; row < counts.rows; row++) {
    for (int64_t x = 0; x < counts.cols; x++) {
      const auto read = [&](int64_t k) -> double { return counts.at(k, row)[x]; };
      const auto difference = [&](int64_t k) { return read(k + 1) - read(k); };
      bool good = true;
      double sums[4] = {};
      for (int64_t k = 0; k < planes; k++) {
        good = good && !std::isnan(read(k));
        for (int j = 0; j < 4; j++) sums[j] += table.at(k, 0)[j] * read(k);
      }
      if (good && p.clip > 0 && tested >= 3) {
        const double mean = std::abs(read(planes - 1) - read(p.from)) / static_cast<double>(tested);
        const double photons = mean / gain.at(0, row)[x], s = variance.at(0, row)[x];
        const double inner = p.clip * std::sqrt(5 * s + 1.5 * photons);
        const double outer = p.clip * std::sqrt(6 * s + 2 * photons) + 0.1 * mean;
        const int64_t last = planes - 2;
        for (int64_t k = p.from + 1; k < last; k++) {
          if (std::abs(difference(k) - (difference(k - 1) + difference(k + 1)) / 2) > inner) good = false;
        }
        if (std::abs(difference(p.from) - difference(p.from + 1)) > outer) good = false;
        if (std::abs(difference(last - 1) - difference(last)) > outer) good = false;
      }
      for (int j = 0; j < 4; j++) {
        terms.at(j, row)[x] = good ? static_cast<float>(sums[j]) : std::numeric_limits<float>::quiet_NaN();
      }
    }
  }
  return Ok();
}

}  // namespace rampline::project_reads
