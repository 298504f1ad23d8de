// Plain C++: five pixels a fibre, for comparison.
#include <cmath>

#include "generated/extract-boxcar.h"
#include "native/core/extract.h"

namespace rampline::extract_boxcar {

Status Run(const KernelCall& call) {
  const auto image = call.ports[kImage].view<const float>(), weight = call.ports[kImageIvar].view<const float>();
  const auto imageDq = call.ports[kImageDq].view<const uint32_t>();
  const auto centre = call.ports[kCentre].view<const float>();
  const auto traceDq = call.ports[kTraceDq].view<const uint32_t>();
  const auto flux = call.ports[kFlux].view<float>(), ivar = call.ports[kIvar].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  if (weight.planes != image.planes || imageDq.planes != image.planes)
    return Fail(Code::kUsage, "image, ivar and dq differ in rows");
  for (const int64_t planes : {traceDq.planes, flux.planes, ivar.planes, dq.planes}) {
    if (planes != centre.planes) return Fail(Code::kUsage, "arrays differ in their number of fibres");
  }
  for (int64_t f = 0; f < flux.planes; f++) {
    for (int64_t x = 0; x < flux.cols; x++) {
      float sum = 0, variance = 0;
      uint32_t bits = traceDq.at(f, 0)[x];
      const float c = centre.at(f, 0)[x];
      bool whole = (bits & extract::kLeftOut) == 0 && std::abs(c) < extract::kFarthest, seen = false;
      if (whole) {
        const auto middle = static_cast<int64_t>(std::floor(c + 0.5f));
        for (int64_t y = middle - 2; y <= middle + 2; y++) {
          if (y < 0 || y >= image.planes) {
            bits |= dq::kOffChip;
            whole = false;
            continue;
          }
          const float d = image.at(y, 0)[x], w = weight.at(y, 0)[x];
          bits |= imageDq.at(y, 0)[x];
          const bool use =
              std::abs(d) < extract::kLargest && w > extract::kSmallestWeight && w < extract::kLargestWeight;
          seen = seen || use;
          whole = whole && use;
          if (!use) continue;
          sum += d;
          variance += 1 / w;
        }
      }
      if (!whole) bits |= dq::kExtractionFailed;
      if (!seen) bits |= dq::kNoGoodPixels;
      flux.at(f, 0)[x] = whole ? sum : 0;
      ivar.at(f, 0)[x] = whole ? 1 / variance : 0;
      dq.at(f, 0)[x] = bits;
    }
  }
  return Ok();
}

}  // namespace rampline::extract_boxcar
