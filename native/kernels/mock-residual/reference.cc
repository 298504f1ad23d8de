#include "generated/mock-residual.h"

namespace rampline::mock_residual {

Status Reference(const KernelCall& call) {
  const auto before = call.ports[kBefore].view<const uint16_t>();
  const auto after = call.ports[kAfter].view<const uint16_t>();
  const auto average = call.ports[kAverage].view<const int32_t>();
  const auto residual = call.ports[kResidual].view<int32_t>();
  for (int64_t row = 0; row < residual.rows; row++) {
    const uint16_t* a = before.at(0, row);
    const uint16_t* b = after.at(0, row);
    const int32_t* mean = average.at(0, row);
    int32_t* out = residual.at(0, row);
    // Modulo 2^32, as add-difference undoes it: any average, a hostile one too, has its residual.
    for (int64_t x = 0; x < residual.cols; x++) {
      out[x] = static_cast<int32_t>(uint32_t{b[x]} - uint32_t{a[x]} - static_cast<uint32_t>(mean[x]));
    }
  }
  return Ok();
}

}  // namespace rampline::mock_residual
