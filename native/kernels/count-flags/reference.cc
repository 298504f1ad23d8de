#include "generated/count-flags.h"

namespace rampline::count_flags {

Status Reference(const KernelCall& call) {
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const auto counts = call.ports[kCounts].view<int32_t>();
  for (int64_t row = 0; row < mask.rows; row++) {
    for (int bit = 0; bit < 32; bit++) {
      int32_t n = 0;
      for (int64_t x = 0; x < mask.cols; x++) n += (mask.at(0, row)[x] >> bit) & 1;
      counts.at(0, row)[bit] = n;
    }
  }
  return Ok();
}

}  // namespace rampline::count_flags
