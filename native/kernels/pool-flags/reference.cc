#include "generated/pool-flags.h"

namespace rampline::pool_flags {

Status Reference(const KernelCall& call) {
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const auto select = static_cast<uint32_t>(ParamsOf(call).select);
  for (int64_t row = 0; row < mask.rows; row++) {
    int lowest = 32;
    for (int64_t plane = 0; plane < mask.planes; plane++) {
      for (int64_t x = 0; x < mask.cols; x++) {
        for (int bit = 0; bit < lowest; bit++) {
          if (((mask.at(plane, row)[x] & select) >> bit & 1u) != 0) lowest = bit;
        }
      }
    }
    call.ports[kColour].view<uint8_t>().at(0, row)[0] = static_cast<uint8_t>(lowest == 32 ? 0 : lowest + 1);
  }
  return Ok();
}

}  // namespace rampline::pool_flags
