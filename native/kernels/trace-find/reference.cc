#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/trace-find.h"

namespace rampline::trace_find {
namespace {

double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  for (int64_t plane = 0; plane < image.planes; plane++) {
    for (int64_t row = 0; row < image.rows; row++) {
      const float* weights = call.ports[kIvar].view<const float>().at(plane, row);
      const uint32_t* bits = call.ports[kDq].view<const uint32_t>().at(plane, row);
      std::vector<double> values, variances;
      int32_t full = 0;
      for (int64_t x = 0; x < image.cols; x++) {
        const double d = image.at(plane, row)[x], w = weights[x];
        if ((bits[x] & static_cast<uint32_t>(params.saturated)) != 0) full++;
        if ((bits[x] & static_cast<uint32_t>(params.skip)) != 0) continue;
        if (!std::isfinite(d) || !std::isfinite(w) || w <= 0) continue;
        values.push_back(d);
        variances.push_back(1 / w);
      }
      double mean = std::numeric_limits<double>::quiet_NaN(), error = mean;
      int32_t count = 0;
      if (!values.empty()) {
        const double median = MedianOf(values);
        std::vector<double> distances;
        for (const double d : values) distances.push_back(std::abs(d - median));
        const double scatter = 1.4826 * MedianOf(distances);
        double sum = 0, variance = 0;
        for (size_t i = 0; i < values.size(); i++) {
          if (distances[i] > params.clip * std::max(scatter, std::sqrt(variances[i]))) continue;
          sum += values[i];
          variance += variances[i];
          count++;
        }
        if (count > 0) {
          mean = sum / count;
          error = std::sqrt(variance) / count;
        }
      }
      call.ports[kProfile].view<double>().at(plane, row)[0] = mean;
      call.ports[kError].view<double>().at(plane, row)[0] = error;
      call.ports[kCount].view<int32_t>().at(plane, row)[0] = count;
      call.ports[kFull].view<int32_t>().at(plane, row)[0] = full;
    }
  }
  return Ok();
}

}  // namespace rampline::trace_find
