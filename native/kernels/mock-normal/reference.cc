// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include <algorithm>

#include "generated/mock-normal.h"
#include "native/core/random.h"

namespace rampline::mock_normal {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto level = call.ports[kLevel].view<const float>();
  const auto map = call.ports[kMap].view<float>();
  const random::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  uint32_t bits[random::kSegment];
  for (int64_t row = 0; row < map.rows; row++) {
    int64_t made = -1;
    for (int64_t x = 0; x < map.cols; x++) {
      const int64_t at = call.origin.x + x, segment = at / random::kSegment;
      if (segment != made) random::RowBits(key, p.stream, p.read, call.origin.row + row, segment, bits);
      made = segment;
      const float mean = level.data[std::min<int64_t>(segment, 4)];
      const float z = random::Normal(bits[at % random::kSegment]);
      const float v = (mean + mean * (p.relative * z)) + p.sigma * z;
      map.at(0, row)[x] = std::min(std::max(v, p.low), p.high);
    }
  }
  return Ok();
}

}  // namespace rampline::mock_normal
