#include <cmath>

#include "generated/mock-average.h"

namespace rampline::mock_average {

Status Run(const KernelCall& call) {
  const double count = ParamsOf(call).differences;
  const auto first = call.ports[kFirst].view<const uint16_t>();
  const auto last = call.ports[kLast].view<const uint16_t>();
  const auto average = call.ports[kAverage].view<int32_t>();
  for (int64_t row = 0; row < average.rows; row++) {
    const uint16_t *a = first.at(0, row), *b = last.at(0, row);
    int32_t* out = average.at(0, row);
    for (int64_t x = 0; x < average.cols; x++) {
      out[x] = static_cast<int32_t>(std::nearbyint(static_cast<double>(int32_t{b[x]} - a[x]) / count));
    }
  }
  return Ok();
}

}  // namespace rampline::mock_average
