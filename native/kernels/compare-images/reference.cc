#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/compare-images.h"

namespace rampline::compare_images {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto a = call.ports[kA].view<const double>(), b = call.ports[kB].view<const double>();
  for (int64_t row = 0; row < a.rows; row++) {
    int32_t changed = 0, different = 0, unpaired = 0, first = -1, last = -1;
    double largest = 0, relative = 0;
    for (int64_t x = 0; x < a.cols; x++) {
      const double u = a.at(0, row)[x], v = b.at(0, row)[x];
      if (u == v || (std::isnan(u) && std::isnan(v))) continue;
      changed++;
      if (first < 0) first = static_cast<int32_t>(x);
      last = static_cast<int32_t>(x);
      if (!std::isfinite(u) || !std::isfinite(v)) {
        unpaired++;
        different++;
        continue;
      }
      const double d = std::min(std::abs(u - v), std::numeric_limits<double>::max());
      const double size = std::max(std::abs(u), std::abs(v));
      largest = std::max(largest, d);
      relative = std::max(relative, d / size);
      if (!(d <= static_cast<double>(params.atol) + static_cast<double>(params.rtol) * size)) different++;
    }
    call.ports[kChanged].view<int32_t>().at(0, row)[0] = changed;
    call.ports[kDifferent].view<int32_t>().at(0, row)[0] = different;
    call.ports[kUnpaired].view<int32_t>().at(0, row)[0] = unpaired;
    call.ports[kFirst].view<int32_t>().at(0, row)[0] = first;
    call.ports[kLast].view<int32_t>().at(0, row)[0] = last;
    call.ports[kLargest].view<double>().at(0, row)[0] = largest;
    call.ports[kRelative].view<double>().at(0, row)[0] = relative;
  }
  return Ok();
}

}  // namespace rampline::compare_images
