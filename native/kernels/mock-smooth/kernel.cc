// Plain C++: it runs a few times for an exposure.
#include "generated/mock-smooth.h"

namespace rampline::mock_smooth {

Status Run(const KernelCall& call) {
  const auto across = call.ports[kAcross].view<const float>();
  const auto along = call.ports[kAlong].view<const float>();
  const auto map = call.ports[kMap].view<float>();
  for (int64_t row = 0; row < map.rows; row++) {
    const float* a = along.at(0, row);
    float* __restrict__ out = map.at(0, row);
    const auto term = [&](int64_t k, int64_t x) { return a[k] * across.at(0, k)[x]; };
    for (int64_t x = 0; x < map.cols; x++) {
      // One line of eight terms lets the compiler take several columns at once; the order is that of a loop over k.
      const float sum =
          ((((((term(0, x) + term(1, x)) + term(2, x)) + term(3, x)) + term(4, x)) + term(5, x)) + term(6, x)) +
          term(7, x);
      out[x] = out[x] * sum;
    }
  }
  return Ok();
}

}  // namespace rampline::mock_smooth
