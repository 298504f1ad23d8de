#include "generated/sample-counts.h"

namespace rampline::sample_counts {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto samples = call.ports[kSamples].view<float>();
  const auto coefficient = [&](size_t port, int64_t row, int64_t x) {
    return call.ports[port].data == nullptr ? 0.0 : call.ports[port].view<const float>().at(0, row)[x];
  };
  for (int64_t row = 0; row < counts.rows; row++) {
    for (int64_t x = 0; x < counts.cols; x++) {
      const double c2 = coefficient(kC2, row, x), c3 = coefficient(kC3, row, x);
      const auto linear = [&](int64_t k) {
        const double v = counts.at(k, row)[x];
        return v + c2 * v * v + c3 * v * v * v;
      };
      for (int64_t i = 0; i < samples.planes; i++) {
        const int64_t k = (counts.planes - 1) * (i + 1) / samples.planes;
        samples.at(i, row)[x] = static_cast<float>(linear(k) - linear(0));
      }
    }
  }
  return Ok();
}

}  // namespace rampline::sample_counts
