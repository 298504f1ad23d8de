#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/measure-quartiles.h"

namespace rampline::measure_quartiles {

Status Reference(const KernelCall& call) {
  const auto image = call.ports[kImage].view<const float>();
  const auto mask = call.ports[kMask].view<const uint32_t>();
  std::vector<double> values;
  for (int64_t row = 0; row < image.rows; row++) {
    for (int64_t x = 0; x < image.cols; x++) {
      if (mask.data != nullptr && (mask.at(0, row)[x] & static_cast<uint32_t>(ParamsOf(call).skip)) != 0) continue;
      if (std::isfinite(image.at(0, row)[x])) values.push_back(image.at(0, row)[x]);
    }
  }
  std::sort(values.begin(), values.end());
  double* out = call.ports[kQuartiles].view<double>().at(0, 0);
  out[0] = static_cast<double>(values.size());
  for (int q = 1; q <= 3; q++) {
    out[q] = std::numeric_limits<double>::quiet_NaN();
    if (values.empty()) continue;
    const double h = static_cast<double>(values.size() - 1) * q / 4;
    const auto k = static_cast<size_t>(h);
    out[q] = values[k] + (h - static_cast<double>(k)) * (values[std::min(k + 1, values.size() - 1)] - values[k]);
  }
  return Ok();
}

}  // namespace rampline::measure_quartiles
