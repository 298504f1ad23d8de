#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/gather-profile.h"

namespace rampline::gather_profile {
namespace {

constexpr int64_t kFibres = 300, kSamples = 481, kComponents = 46, kSide = 48, kNodes = 8, kNeighbours = 4;
constexpr double kReach = 12, kPerPixel = 20;

bool Sane(double v) { return std::abs(v) < 1e15; }

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto flux = call.ports[kFlux].view<const float>(), basis = call.ports[kBasis].view<const float>();
  const auto moments = call.ports[kMoments].view<double>();
  for (int64_t s = 0; s < kSamples; s++) {
    for (int64_t k = 0; k < kComponents; k++) {
      if (!Sane(basis.at(0, s)[k])) return Fail(Code::kUsage, "a function of the basis is not finite");
    }
  }
  const auto cumulative = [&](double z, int64_t k) {
    const double at = std::clamp((z + kReach) * kPerPixel, 0.0, static_cast<double>(kSamples - 1));
    const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), kSamples - 2);
    const double low = basis.at(0, i)[k], high = basis.at(0, i + 1)[k];
    return low + (high - low) * (at - static_cast<double>(i));
  };
  const auto usable = [&](int64_t f, int64_t x) {
    const double w = width.at(0, f)[x];
    return Sane(centre.at(0, f)[x]) && Sane(flux.at(0, f)[x]) && w > 0.05 && w < 20;
  };
  for (int64_t row = 0; row < moments.rows; row++) {
    const int64_t first = (call.origin.row + row) * params.fibres;
    const int64_t last = std::min(first + params.fibres, kFibres) - 1;
    for (int64_t node = 0; node < kNodes; node++) std::fill_n(moments.at(node, row), kSide * kSide + 1, 0.0);
    for (int64_t x = 0; x < image.cols; x++) {
      const int64_t node = x * kNodes / image.cols;
      // Twice the distance from the middle of the eighth, in eighths of a column.
      if (std::abs(2 * kNodes * x - (2 * node + 1) * image.cols) > kNodes * params.window) continue;
      double* sums = moments.at(node, row);
      for (int64_t y = 0; y < image.planes; y++) {
        const double d = image.at(y, 0)[x], w = ivar.at(y, 0)[x];
        if (!(w > 0) || !Sane(w) || !Sane(d)) continue;
        if (call.ports[kExpected].data != nullptr) {
          const double e = call.ports[kExpected].view<const float>().at(y, 0)[x];
          const double allowed = params.model * e, c = params.clip;
          if (!((d - e) * (d - e) <= c * c * (1 / w + allowed * allowed))) continue;
        }
        // The fibre of the block that is nearest, and whether one beyond the block is nearer still.
        double nearest = kReach, beyond = 1e30;
        for (int64_t f = std::max<int64_t>(0, first - kNeighbours); f <= std::min(kFibres - 1, last + kNeighbours);
             f++) {
          if (!usable(f, x)) continue;
          const double distance = std::abs(static_cast<double>(y) - centre.at(0, f)[x]);
          // Of two at the same distance the lower fibre has the pixel.
          if (f < first) beyond = std::min(beyond, distance);
          if (f >= first && f <= last) nearest = std::min(nearest, distance);
          if (f > last) beyond = std::min(beyond, std::nextafter(distance, 1e300));
        }
        if (!(nearest < kReach && nearest < beyond)) continue;
        std::vector<double> r(kSide, 0.0);
        for (int64_t k = 0; k < kComponents; k++) {
          for (int64_t f = std::max<int64_t>(0, first - kNeighbours); f <= std::min(kFibres - 1, last + kNeighbours);
               f++) {
            if (!usable(f, x)) continue;
            const double z = static_cast<double>(y) - centre.at(0, f)[x], s = width.at(0, f)[x];
            r[static_cast<size_t>(k)] +=
                flux.at(0, f)[x] * (cumulative((z + 0.5) / s, k) - cumulative((z - 0.5) / s, k));
          }
        }
        r[kComponents] = 1;
        r[kComponents + 1] = d;
        sums[kSide * kSide]++;
        for (int64_t i = 0; i < kSide; i++) {
          for (int64_t j = 0; j < kSide; j++) {
            sums[kSide * i + j] += w * r[static_cast<size_t>(i)] * r[static_cast<size_t>(j)];
          }
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::gather_profile
