#include <cmath>

#include "generated/dq.h"
#include "generated/extract-boxcar.h"

namespace rampline::extract_boxcar {

Status Reference(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<float>();
  constexpr uint32_t kLeftOut = dq::kBrokenFibre | dq::kExtractionFailed | dq::kNoGoodPixels;
  for (int64_t f = 0; f < flux.planes; f++) {
    for (int64_t x = 0; x < flux.cols; x++) {
      uint32_t bits = call.ports[kTraceDq].view<const uint32_t>().at(f, 0)[x];
      const float centre = call.ports[kCentre].view<const float>().at(f, 0)[x];
      double sum = 0, variance = 0;
      int values = 0;
      if ((bits & kLeftOut) == 0 && std::abs(centre) < 1e6f) {
        for (int i = -2; i <= 2; i++) {
          const double y = std::floor(centre + 0.5f) + i;
          if (y < 0 || y >= static_cast<double>(call.ports[kImage].planes)) {
            bits |= dq::kOffChip;
            continue;
          }
          const auto row = static_cast<int64_t>(y);
          const double d = call.ports[kImage].view<const float>().at(row, 0)[x];
          const double w = call.ports[kImageIvar].view<const float>().at(row, 0)[x];
          bits |= call.ports[kImageDq].view<const uint32_t>().at(row, 0)[x];
          if (!(std::abs(d) < 1e9 && w > 1e-12f && w < 1e12f)) continue;
          values++;
          sum += d;
          variance += 1 / w;
        }
      }
      if (values < 5) bits |= dq::kExtractionFailed;
      if (values == 0) bits |= dq::kNoGoodPixels;
      flux.at(f, 0)[x] = values < 5 ? 0 : static_cast<float>(sum);
      call.ports[kIvar].view<float>().at(f, 0)[x] = values < 5 ? 0 : static_cast<float>(1 / variance);
      call.ports[kDq].view<uint32_t>().at(f, 0)[x] = bits;
    }
  }
  return Ok();
}

}  // namespace rampline::extract_boxcar
