#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/divide-model/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/divide-model.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                    // NOLINT: short names for registers of pixels
using namespace rampline::divide_model;  // NOLINT: the generated ports and parameters

Status DivideModel(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto signal = call.ports[kSignal].view<const float>(), sigma = call.ports[kSigma].view<const float>();
  const auto model = call.ports[kModel].view<const float>();
  const auto flags = call.ports[kFlags].view<const uint32_t>();
  const auto ratio = call.ports[kRatio].view<float>(), ratioError = call.ports[kRatioError].view<float>();
  const auto bad = call.ports[kBad].view<uint8_t>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const hn::Rebind<uint8_t, DF> d8;
  const VF one = hn::Set(d, 1.0f), missing = hn::NaN(d);
  const VF low = hn::Set(d, params.low), high = hn::Set(d, params.high);
  const auto skip = hn::Set(du, static_cast<uint32_t>(params.skip));
  ForPixels<1>(signal.rows, signal.cols, [&](int64_t row, int64_t x, int count, auto) HWY_ATTR {
    const VF m = LoadPart(d, model.at(0, row) + x, count);
    const auto positive = hn::And(hn::Gt(m, hn::Set(d, 1e-15f)), hn::Lt(m, hn::Set(d, 1e30f)));
    const VF by = hn::IfThenElse(positive, m, one);
    const VF r = hn::Div(LoadPart(d, signal.at(0, row) + x, count), by);
    const VF e = hn::Div(LoadPart(d, sigma.at(0, row) + x, count), by);
    const auto known = hn::And(hn::And(positive, hn::Lt(hn::Abs(r), hn::Set(d, 1e18f))),
                               hn::And(hn::Gt(e, hn::Set(d, 1e-15f)), hn::Lt(e, hn::Set(d, 1e15f))));
    auto good = hn::And(known, hn::And(hn::Ge(r, low), hn::Le(r, high)));
    if (flags.data != nullptr) {
      const auto set = hn::And(LoadPart(du, flags.at(0, row) + x, count), skip);
      good = hn::And(good, hn::RebindMask(d, hn::Eq(set, hn::Zero(du))));
    }
    StorePart(d, hn::IfThenElse(known, r, missing), ratio.at(0, row) + x, count);
    StorePart(d, hn::IfThenElse(known, e, missing), ratioError.at(0, row) + x, count);
    const auto wrong = hn::IfThenZeroElse(hn::RebindMask(du, good), hn::Set(du, 1u));
    StorePart(d8, hn::U8FromU32(wrong), bad.at(0, row) + x, count);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::divide_model {
namespace {
HWY_EXPORT(DivideModel);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(DivideModel)(call); }
}  // namespace rampline::divide_model
#endif
