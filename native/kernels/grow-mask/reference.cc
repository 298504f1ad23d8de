#include <algorithm>

#include "generated/grow-mask.h"

namespace rampline::grow_mask {

Status Reference(const KernelCall& call) {
  const auto mask = call.ports[kMask].view<const uint8_t>();
  const int64_t radius = ParamsOf(call).radius;
  for (int64_t row = 0; row < mask.rows; row++) {
    for (int64_t x = 0; x < mask.cols; x++) {
      uint8_t marked = 0;
      for (int64_t y = std::max<int64_t>(0, row - radius); y <= std::min(mask.rows - 1, row + radius); y++) {
        for (int64_t i = std::max<int64_t>(0, x - radius); i <= std::min(mask.cols - 1, x + radius); i++) {
          if (mask.at(0, y)[i] != 0) marked = 1;
        }
      }
      call.ports[kGrown].view<uint8_t>().at(0, row)[x] = marked;
    }
  }
  return Ok();
}

}  // namespace rampline::grow_mask
