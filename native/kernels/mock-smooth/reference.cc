// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include "generated/mock-smooth.h"

namespace rampline::mock_smooth {

Status Reference(const KernelCall& call) {
  const auto across = call.ports[kAcross].view<const float>();
  const auto along = call.ports[kAlong].view<const float>();
  const auto map = call.ports[kMap].view<float>();
  for (int64_t row = 0; row < map.rows; row++) {
    for (int64_t x = 0; x < map.cols; x++) {
      float sum = along.at(0, row)[0] * across.at(0, 0)[x];
      for (int64_t k = 1; k < 8; k++) sum = sum + along.at(0, row)[k] * across.at(0, k)[x];
      map.at(0, row)[x] = map.at(0, row)[x] * sum;
    }
  }
  return Ok();
}

}  // namespace rampline::mock_smooth
