#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/pair-variances.h"

namespace rampline::pair_variances {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto first = call.ports[kFirst].view<const float>(), second = call.ports[kSecond].view<const float>();
  const auto sums = call.ports[kSums].view<double>();
  for (int64_t row = 0; row < first.rows; row++) {
    double* out = sums.at(0, row);
    std::fill(out, out + 96, 0.0);
    const int64_t y = call.origin.row + row;
    if (y < params.border || y >= call.whole.rows - params.border) continue;
    for (int64_t amplifier = 0; amplifier < 4; amplifier++) {
      const int64_t from = std::max<int64_t>(first.cols * amplifier / 4, params.border);
      const int64_t to = std::min<int64_t>(first.cols * (amplifier + 1) / 4, first.cols - params.border);
      for (int64_t point = 0; point < first.planes; point++) {
        const float *a = first.at(point, row), *b = second.at(point, row);
        double centre = 0, limit = std::numeric_limits<double>::infinity(), n = 0, sumA = 0, sumB = 0, squares = 0;
        for (int pass = 0; pass < 5; pass++) {
          double sum = 0;
          n = sumA = sumB = squares = 0;
          for (int64_t x = from; x < to; x++) {
            const double u = static_cast<double>(a[x]) - b[x] - centre;
            if (!(std::abs(u) <= limit)) continue;
            n++;
            sumA += a[x];
            sumB += b[x];
            sum += u;
            squares += u * u;
          }
          if (n == 0) break;
          squares = std::max(squares - sum * sum / n, 0.0);
          centre += sum / n;
          limit = std::max(params.clip * std::sqrt(squares / n), 0.1);
        }
        double* values = out + (amplifier * 6 + point) * 4;
        values[0] = n;
        values[1] = sumA;
        values[2] = sumB;
        values[3] = squares;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::pair_variances
