// Trimmed mean of the differences of each pixel.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/estimate-rate/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/estimate-rate.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                     // NOLINT: short names for what this kernel is made of
using namespace rampline::estimate_rate;  // NOLINT: the generated ports

Status EstimateRate(const KernelCall& call) {
  const auto diffs = call.ports[kDiffs].view<const float>();
  const auto rate = call.ports[kRate].view<float>();
  const DF d;
  Ahead none;
  Ahead& ahead = call.ahead != nullptr ? *call.ahead : none;
  ForPixels(diffs.rows, diffs.cols, [&](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
    constexpr int G = decltype(groups)::value;
    const Planes in = PlanesOf(diffs, row, x, count, call.scratch.data);
    Trimmed all[G];
    AddPlanes<G>(d, in, diffs.planes, ahead, all);
    for (int g = 0; g < G; g++) StorePart(d, all[g].Mean(d), rate.at(0, row) + x + g * kLanes, count);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::estimate_rate {
namespace {
HWY_EXPORT(EstimateRate);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(EstimateRate)(call); }
}  // namespace rampline::estimate_rate
#endif
