#include "generated/subtract-images.h"

namespace rampline::subtract_images {

Status Reference(const KernelCall& call) {
  const auto image = call.ports[kImage].view<const float>(), model = call.ports[kModel].view<const float>();
  const auto difference = call.ports[kDifference].view<float>();
  for (int64_t row = 0; row < difference.rows; row++) {
    for (int64_t x = 0; x < difference.cols; x++) {
      const double value = static_cast<double>(image.at(0, row)[x]) - static_cast<double>(model.at(0, row)[x]);
      difference.at(0, row)[x] = static_cast<float>(value);
    }
  }
  return Ok();
}

}  // namespace rampline::subtract_images
