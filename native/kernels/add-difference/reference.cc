#include "generated/add-difference.h"

namespace rampline::add_difference {

Status Reference(const KernelCall& call) {
  const auto before = call.ports[kBefore].view<const uint16_t>();
  const auto average = call.ports[kAverage].view<const int32_t>();
  const auto residual = call.ports[kResidual].view<const int32_t>();
  const auto read = call.ports[kRead].view<uint16_t>();
  for (int64_t row = 0; row < read.rows; row++) {
    for (int64_t x = 0; x < read.cols; x++) {
      const int64_t sum = int64_t{before.at(0, row)[x]} + average.at(0, row)[x] + residual.at(0, row)[x];
      read.at(0, row)[x] = static_cast<uint16_t>(static_cast<uint64_t>(sum) & 0xffff);
    }
  }
  return Ok();
}

}  // namespace rampline::add_difference
