#include "generated/count-common-flags.h"

namespace rampline::count_common_flags {

Status Reference(const KernelCall& call) {
  const auto a = call.ports[kA].view<const uint32_t>(), b = call.ports[kB].view<const uint32_t>();
  const auto counts = call.ports[kCounts].view<int32_t>();
  for (int64_t row = 0; row < a.rows; row++) {
    for (int bit = 0; bit < 32; bit++) {
      int32_t n = 0;
      for (int64_t x = 0; x < a.cols; x++) n += (a.at(0, row)[x] >> bit) & (b.at(0, row)[x] >> bit) & 1;
      counts.at(0, row)[bit] = n;
    }
  }
  return Ok();
}

}  // namespace rampline::count_common_flags
