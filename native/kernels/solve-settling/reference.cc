#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/solve-settling.h"

namespace rampline::solve_settling {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto in = [&](size_t port) { return call.ports[port].view<const float>(); };
  const auto sums = in(kSums), weight = in(kWeight), squares = in(kSquares), variance = in(kReadVariance);
  const auto gain = in(kGain);
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto out = [&](size_t port) { return call.ports[port].view<float>(); };
  const auto offset = out(kOffset), offsetError = out(kOffsetError);
  const auto amplitude = out(kAmplitude), amplitudeError = out(kAmplitudeError);
  constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
  constexpr double kSigmas = 5;
  const double level = p.levelError, all = p.weightAll;
  for (int64_t row = 0; row < dq.rows; row++) {
    for (int64_t x = 0; x < dq.cols; x++) {
      uint32_t& bits = dq.at(0, row)[x];
      const double w = weight.at(0, row)[x], s = variance.at(0, row)[x];
      double e[4];
      for (int j = 0; j < 4; j++) e[j] = sums.at(j, row)[x] / w;
      double values[4] = {kMissing, kMissing, kMissing, kMissing};
      if (bits == 0 && !(w > 0)) bits = static_cast<uint32_t>(dq::kNoCalibration);
      if (bits == 0) {
        const double lost = all / w, photons = std::max<double>(e[3], 0) / gain.at(0, row)[x];
        double ofOffset = s / w + p.photonsOffset * lost * photons;
        double ofAmplitude = lost * (p.readAmplitude * s + p.photonsAmplitude * photons);
        const double free = static_cast<double>(p.darks) / lost - 1;
        if (free > 0.5) {  // two darks or more
          // e_0^2 of a dark is expected to be ofOffset W / w.
          const double excess = (squares.at(0, row)[x] - e[0] * e[0] * w) / (ofOffset * w * free);
          const double spread = 2 / (9 * free);
          if (std::cbrt(excess) > 1 - spread + kSigmas * std::sqrt(spread)) {
            bits |= static_cast<uint32_t>(dq::kNoisy);
            ofOffset *= excess;
            ofAmplitude *= excess;
          }
        }
        values[0] = e[0];
        values[1] = std::sqrt(ofOffset + level * level);
        values[2] = p.a0 * e[0] + p.a1 * e[1] + p.a2 * e[2];
        values[3] = std::sqrt(ofAmplitude + level * level);
      }
      // Values that no float holds come of senseless input.
      const bool finite = std::ranges::all_of(values, [](double v) { return std::isfinite(static_cast<float>(v)); });
      if (!finite) std::ranges::fill(values, kMissing);
      if (!finite && (bits == 0 || bits == static_cast<uint32_t>(dq::kNoisy))) {
        bits = static_cast<uint32_t>(dq::kNoCalibration);
      }
      offset.at(0, row)[x] = static_cast<float>(values[0]);
      offsetError.at(0, row)[x] = static_cast<float>(values[1]);
      amplitude.at(0, row)[x] = static_cast<float>(values[2]);
      amplitudeError.at(0, row)[x] = static_cast<float>(values[3]);
    }
  }
  return Ok();
}

}  // namespace rampline::solve_settling
