// The numbers of a generator are its contract, so the reference is in single precision too and must agree to the bit.
#include <algorithm>
#include <cmath>

#include "generated/mock-read.h"
#include "native/core/random.h"
#include "native/kernels/mock-read/readout.h"

namespace rampline::mock_read {

// Counts m that the linearity correction m + c2 m^2 + c3 m^3 turns into `linear`; three steps of Newton from above.
static float Respond(float linear, float c2, float c3) {
  float m = linear;
  for (int step = 0; step < 3; step++) {
    const float mm = m * m;
    const float excess = ((m + c2 * mm) + c3 * (mm * m)) - linear;
    const float slope = (1.0f + 2.0f * (c2 * m)) + 3.0f * (c3 * mm);
    m = m - excess / slope;
  }
  return m;
}

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto value = [&](size_t i, int64_t row, int64_t x) { return call.ports[i].view<const float>().at(0, row)[x]; };
  const auto level = call.ports[kLevel].view<const float>();
  const auto knots = call.ports[kKnots].view<const float>();
  const auto counts = call.ports[kCounts].view<uint16_t>();
  const random::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  uint32_t bits[random::kSegment];
  float line[kAmplifierColumns];
  for (int64_t row = 0; row < counts.rows; row++) {
    int64_t made = -1;
    for (int64_t x = 0; x < counts.cols; x++) {
      const int64_t column = call.origin.x + x, segment = column / random::kSegment;
      const int64_t output = std::min(segment, kOutputs - 1);
      if (segment != made) {
        random::RowBits(key, kStream, p.read, call.origin.row + row, segment, bits);
        Line(knots.at(0, row), output, line);
        made = segment;
      }
      const float linear = value(kCharge, row, x) / value(kGain, row, x) + value(kPedestal, row, x);
      const float m = Respond(linear, value(kC2, row, x), value(kC3, row, x));
      const float well = value(kWell, row, x);
      float v = ((m < well ? m : well) + value(kReset, row, x) * p.decay) + level.data[output];
      v = v + line[column % kAmplifierColumns];
      v = v + value(kNoise, row, x) * random::Normal(bits[column % random::kSegment]);
      v = v > 0.0f ? v : 0.0f;
      v = v < 65535.0f ? v : 65535.0f;
      counts.at(0, row)[x] = static_cast<uint16_t>(std::nearbyint(v));
    }
  }
  return Ok();
}

}  // namespace rampline::mock_read
