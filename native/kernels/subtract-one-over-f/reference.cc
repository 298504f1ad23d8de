#include <algorithm>

#include "generated/subtract-one-over-f.h"
#include "native/core/geometry.h"

namespace rampline::subtract_one_over_f {

Status Reference(const KernelCall& call) {
  const auto counts = call.ports[kCounts].view<const float>();
  const auto correction = call.ports[kCorrection].view<const float>();
  const auto quiet = call.ports[kQuiet].view<float>();
  for (int64_t k = 0; k < counts.planes; k++) {
    for (int64_t row = 0; row < counts.rows; row++) {
      for (int64_t x = 0; x < counts.cols; x++) {
        const int64_t detectorX = call.origin.x + x;
        const int64_t amplifier = AmplifierOf(detectorX);
        const double column = static_cast<double>(detectorX - amplifier * kAmplifierColumns) + 0.5;
        // Clock time within the row, in halves of a row: 0 at the start, 2 at the end.
        const double time = (IsFlipped(amplifier) ? kAmplifierColumns - column : column) / (kAmplifierColumns / 2);
        const int64_t knot = time < 1 ? 0 : 1;
        const float* knots = correction.at(k, row) + amplifier * 3;
        const double noise = knots[knot] + (time - knot) * (static_cast<double>(knots[knot + 1]) - knots[knot]);
        quiet.at(k, row)[x] = static_cast<float>(counts.at(k, row)[x] - noise);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::subtract_one_over_f
