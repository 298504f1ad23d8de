#include <algorithm>
#include <cmath>

#include "generated/stretch-asinh.h"

namespace rampline::stretch_asinh {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  const auto grey = call.ports[kGrey].view<uint8_t>();
  const double range = static_cast<double>(p.high) - p.low;
  for (int64_t row = 0; row < image.rows; row++) {
    for (int64_t x = 0; x < image.cols; x++) {
      if (std::isnan(image.at(0, row)[x])) {
        grey.at(0, row)[x] = 0;
        continue;
      }
      double t = range > 0 ? (image.at(0, row)[x] - static_cast<double>(p.low)) / range : 0.0;
      t = t >= 0 ? std::min(t, 1.0) : 0.0;
      const double a = std::asinh(t * p.softening) / std::asinh(static_cast<double>(p.softening));
      grey.at(0, row)[x] = static_cast<uint8_t>(std::nearbyint(p.floor + (255.0 - p.floor) * a));
    }
  }
  return Ok();
}

}  // namespace rampline::stretch_asinh
