#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/gather-variances.h"

namespace rampline::gather_variances {
namespace {

// What second differences of the row of an amplifier have in common.
struct Common {
  double mean = 0, factor = 1;
};

Common CommonOf(const std::vector<double>& e) {
  double limit = std::numeric_limits<double>::infinity(), mean = 0, all = 0;
  for (int pass = 0; pass < 2; pass++) {
    double n = 0, sum = 0, squares = 0;
    for (const double v : e) {
      if (!(std::abs(v - mean) <= limit)) continue;
      n++;
      sum += v - mean;
      squares += (v - mean) * (v - mean);
    }
    if (pass == 0) all = n;
    if (all < 8 || n == 0) return {};
    limit = std::max(4 * std::sqrt(std::max(squares / n - (sum / n) * (sum / n), 0.0)), 0.1);
    mean += sum / n;
  }
  return {mean, all / (all - 1)};
}

}  // namespace

Status Reference(const KernelCall& call) {
  const double clip = ParamsOf(call).clip;
  const auto diffs = call.ports[kDiffs].view<const float>();
  const auto sums = call.ports[kSums].view<float>();
  const bool linear = call.ports[kCounts].data == nullptr || call.ports[kC2].data == nullptr ||
                      call.ports[kC3].data == nullptr || call.ports[kLimit].data == nullptr;
  const auto at = [&](size_t port, int64_t plane, int64_t row, int64_t x) {
    return static_cast<double>(call.ports[port].view<const float>().at(plane, row)[x]);
  };
  const int64_t values = diffs.planes - 1, half = values > 2 ? (values - 2) / 2 : 0;
  const auto used = [&](int64_t k) { return k < half || k >= half + 2; };
  for (int64_t row = 0; row < diffs.rows; row++) {
    const int64_t width = ParamsOf(call).amplifierCols;
    for (int64_t from = 0; from < diffs.cols; from += width) {
      const int64_t to = std::min(from + width, diffs.cols);
      std::vector<Common> common;
      for (int64_t k = 0; k < values; k++) {
        std::vector<double> e;
        for (int64_t x = from; x < to; x++)
          e.push_back(static_cast<double>(diffs.at(k + 1, row)[x]) - diffs.at(k, row)[x]);
        common.push_back(CommonOf(e));
      }
      for (int64_t x = from; x < to; x++) {
        std::vector<double> squares, means;
        double most = 0, second = 0, total = 0, n = 0;
        for (int64_t k = 0; k < values; k++) {
          const double a = diffs.at(k, row)[x], b = diffs.at(k + 1, row)[x];
          const Common& c = common[static_cast<size_t>(k)];
          double square = (b - a - c.mean) * (b - a - c.mean) * c.factor, mean = (a + b) / 2;
          if (!linear) {
            const double count = at(kCounts, k + 1, row, x);
            const double slope = 1 + count * (2 * at(kC2, 0, row, x) + 3 * at(kC3, 0, row, x) * count);
            if (!(slope > 0.1) || !(count <= at(kLimit, 0, row, x))) square = std::numeric_limits<double>::quiet_NaN();
            mean /= slope;
          }
          squares.push_back(square);
          means.push_back(mean);
          if (std::isnan(square) || !used(k)) continue;
          second = std::max(second, std::min(most, square));
          most = std::max(most, square);
          total += square;
          n++;
        }
        double limit =
            n < 5 ? std::numeric_limits<double>::infinity() : clip * clip * (total - most - second) / (n - 2);
        for (int pass = 0; pass < 2; pass++) {
          double count[2] = {}, mean[2] = {}, variance[2] = {};
          for (int64_t k = 0; k < values; k++) {
            const auto i = static_cast<size_t>(k);
            if (!(squares[i] <= limit) || !used(k)) continue;
            const int h = k < half ? 0 : 1;
            count[h]++;
            mean[h] += means[i];
            variance[h] += 0.5 * squares[i];
          }
          if (pass == 0) {
            const double kept = std::max(count[0] + count[1], 1.0);
            if (n >= 5) limit = clip * clip * 2 * (variance[0] + variance[1]) / kept;
            continue;
          }
          for (int h = 0; h < 2; h++) {
            sums.at(3 * h, row)[x] += static_cast<float>(count[h]);
            sums.at(3 * h + 1, row)[x] += static_cast<float>(mean[h]);
            sums.at(3 * h + 2, row)[x] += static_cast<float>(variance[h]);
          }
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::gather_variances
