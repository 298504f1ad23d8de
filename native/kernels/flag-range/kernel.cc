#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/flag-range/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/flag-range.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for registers of pixels
using namespace rampline::flag_range;  // NOLINT: the generated ports and parameters

Status FlagRange(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const auto bits = [&](int32_t value) HWY_ATTR { return hn::Set(du, static_cast<uint32_t>(value)); };
  ForPixels<1>(image.rows, image.cols, [&](int64_t row, int64_t x, int part, auto) HWY_ATTR {
    const VF v = LoadPart(d, image.at(0, row) + x, part);
    const auto before = LoadPart(du, dq.at(0, row) + x, part);
    const auto low = hn::RebindMask(du, hn::Lt(v, hn::Set(d, params.low)));
    const auto high = hn::RebindMask(du, hn::Gt(v, hn::Set(d, params.high)));
    const auto add = hn::Or(hn::IfThenElseZero(low, bits(params.below)), hn::IfThenElseZero(high, bits(params.above)));
    const auto judged = hn::Eq(hn::And(before, bits(params.skip)), hn::Zero(du));
    StorePart(du, hn::Or(before, hn::IfThenElseZero(judged, add)), dq.at(0, row) + x, part);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::flag_range {
namespace {
HWY_EXPORT(FlagRange);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(FlagRange)(call); }
}  // namespace rampline::flag_range
#endif
