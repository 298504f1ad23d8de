#include <limits>

#include "generated/average-cells.h"

namespace rampline::average_cells {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  for (int64_t row = 0; row < image.rows; row++) {
    double sum = 0;
    int32_t count = 0;
    for (int64_t plane = 0; plane < image.planes; plane++) {
      for (int64_t x = 0; x < image.cols; x++) {
        const float v = image.at(plane, row)[x];
        if (!(v >= params.low && v <= params.high)) continue;
        sum += v;
        count++;
      }
    }
    call.ports[kMean].view<double>().at(0, row)[0] = count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
    call.ports[kCount].view<int32_t>().at(0, row)[0] = count;
  }
  return Ok();
}

}  // namespace rampline::average_cells
