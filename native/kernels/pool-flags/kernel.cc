#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/pool-flags/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/pool-flags.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

Status PoolFlags(const KernelCall& call) {
  using namespace rampline::pool_flags;  // NOLINT: the generated ports and parameters
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const auto colour = call.ports[kColour].view<uint8_t>();
  const auto select = static_cast<uint32_t>(ParamsOf(call).select);
  const hn::ScalableTag<uint32_t> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < mask.rows; row++) {
    auto wide = hn::Zero(d);
    uint32_t all = 0;
    for (int64_t plane = 0; plane < mask.planes; plane++) {
      const uint32_t* in = mask.at(plane, row);
      int64_t x = 0;
      for (; x + n <= mask.cols; x += n) wide = hn::Or(wide, hn::LoadU(d, in + x));
      for (; x < mask.cols; x++) all |= in[x];
    }
    HWY_ALIGN uint32_t lanes[hn::MaxLanes(d)];
    hn::Store(wide, d, lanes);
    for (int64_t i = 0; i < n; i++) all |= lanes[i];
    all &= select;
    colour.at(0, row)[0] = static_cast<uint8_t>(all == 0 ? 0 : 1 + __builtin_ctz(all));
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::pool_flags {
namespace {
HWY_EXPORT(PoolFlags);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(PoolFlags)(call); }
}  // namespace rampline::pool_flags
#endif
