// In integers, so that no rounding of a quotient comes in.
#include "generated/mock-average.h"

namespace rampline::mock_average {

Status Reference(const KernelCall& call) {
  const int64_t count = ParamsOf(call).differences;
  const auto first = call.ports[kFirst].view<const uint16_t>();
  const auto last = call.ports[kLast].view<const uint16_t>();
  const auto average = call.ports[kAverage].view<int32_t>();
  for (int64_t row = 0; row < average.rows; row++) {
    for (int64_t x = 0; x < average.cols; x++) {
      const int64_t sum = int64_t{last.at(0, row)[x]} - first.at(0, row)[x];
      const int64_t size = sum < 0 ? -sum : sum;
      int64_t rounded = size / count;
      const int64_t twice = 2 * (size % count);
      if (twice > count || (twice == count && rounded % 2 == 1)) rounded++;
      average.at(0, row)[x] = static_cast<int32_t>(sum < 0 ? -rounded : rounded);
    }
  }
  return Ok();
}

}  // namespace rampline::mock_average
