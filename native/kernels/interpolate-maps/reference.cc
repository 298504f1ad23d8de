#include <cmath>
#include <limits>

#include "generated/interpolate-maps.h"

namespace rampline::interpolate_maps {

Status Reference(const KernelCall& call) {
  const double t = ParamsOf(call).fraction;
  const auto value = call.ports[kValue].view<float>(), error = call.ports[kError].view<float>();
  const auto in = [&](Port port, int64_t row, int64_t x) -> double {
    return call.ports[port].view<const float>().at(0, row)[x];
  };
  for (int64_t row = 0; row < value.rows; row++) {
    for (int64_t x = 0; x < value.cols; x++) {
      const double a = in(kA, row, x), p = in(kAError, row, x), b = in(kB, row, x), q = in(kBError, row, x);
      const bool hasA = std::isfinite(a) && std::isfinite(p), hasB = std::isfinite(b) && std::isfinite(q);
      double v = std::numeric_limits<double>::quiet_NaN(), s = v;
      if (hasA && hasB) {
        v = a + t * (b - a);
        s = std::sqrt((1 - t) * p * (1 - t) * p + t * q * t * q);
      } else if (hasA || hasB) {
        v = hasA ? a : b;
        s = hasA ? p : q;
      }
      value.at(0, row)[x] = static_cast<float>(v);
      error.at(0, row)[x] = static_cast<float>(s);
      call.ports[kDq].view<uint32_t>().at(0, row)[x] =
          call.ports[kADq].view<const uint32_t>().at(0, row)[x] | call.ports[kBDq].view<const uint32_t>().at(0, row)[x];
    }
  }
  return Ok();
}

}  // namespace rampline::interpolate_maps
