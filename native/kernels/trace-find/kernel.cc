// Plain C++: a median compares and moves, and what follows it is one pass over a few hundred values.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/trace-find.h"

namespace rampline::trace_find {
namespace {

// Reorders the values.
double MedianOf(double* values, int64_t n) {
  double* middle = values + n / 2;
  std::nth_element(values, middle, values + n);
  if (n % 2 == 1) return *middle;
  return (*std::max_element(values, middle) + *middle) / 2;
}

}  // namespace

Status Run(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto skip = static_cast<uint32_t>(params.skip), saturated = static_cast<uint32_t>(params.saturated);
  const auto image = call.ports[kImage].view<const float>();
  const auto ivar = call.ports[kIvar].view<const float>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  std::vector<double> memory(static_cast<size_t>(4 * image.cols));
  double *values = memory.data(), *variances = values + image.cols, *distances = variances + image.cols,
         *sorted = distances + image.cols;
  for (int64_t plane = 0; plane < image.planes; plane++) {
    for (int64_t row = 0; row < image.rows; row++) {
      const float *d = image.at(plane, row), *w = ivar.at(plane, row);
      const uint32_t* bits = dq.at(plane, row);
      int64_t n = 0;
      int32_t full = 0;
      for (int64_t x = 0; x < image.cols; x++) {
        full += (bits[x] & saturated) != 0 ? 1 : 0;
        // Infinities and NaN minus themselves are NaN.
        if ((bits[x] & skip) != 0 || !(w[x] > 0) || w[x] - w[x] != 0 || d[x] - d[x] != 0) continue;
        values[n] = d[x];
        variances[n++] = 1.0 / w[x];
      }
      double sum = 0, variance = 0;
      int32_t count = 0;
      if (n > 0) {
        std::copy_n(values, n, sorted);
        const double median = MedianOf(sorted, n);
        for (int64_t i = 0; i < n; i++) sorted[i] = distances[i] = std::abs(values[i] - median);
        const double scatter = 1.4826 * MedianOf(sorted, n);
        for (int64_t i = 0; i < n; i++) {
          if (distances[i] > params.clip * std::max(scatter, std::sqrt(variances[i]))) continue;
          sum += values[i];
          variance += variances[i];
          count++;
        }
      }
      const double none = std::numeric_limits<double>::quiet_NaN();
      call.ports[kProfile].view<double>().at(plane, row)[0] = count > 0 ? sum / count : none;
      call.ports[kError].view<double>().at(plane, row)[0] = count > 0 ? std::sqrt(variance) / count : none;
      call.ports[kCount].view<int32_t>().at(plane, row)[0] = count;
      call.ports[kFull].view<int32_t>().at(plane, row)[0] = full;
    }
  }
  return Ok();
}

}  // namespace rampline::trace_find
