#include "generated/flag-range.h"

namespace rampline::flag_range {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  for (int64_t row = 0; row < image.rows; row++) {
    for (int64_t x = 0; x < image.cols; x++) {
      const float v = image.at(0, row)[x];
      uint32_t& bits = call.ports[kDq].view<uint32_t>().at(0, row)[x];
      if ((bits & static_cast<uint32_t>(params.skip)) != 0) continue;
      if (v < params.low) bits |= static_cast<uint32_t>(params.below);
      if (v > params.high) bits |= static_cast<uint32_t>(params.above);
    }
  }
  return Ok();
}

}  // namespace rampline::flag_range
