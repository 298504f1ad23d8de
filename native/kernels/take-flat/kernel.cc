#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/take-flat/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/take-flat.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                 // NOLINT: short names for registers of pixels
using namespace rampline::take_flat;  // NOLINT: the generated ports

Status TakeFlat(const KernelCall& call) {
  const auto rate = call.ports[kRate].view<const float>(), error = call.ports[kError].view<const float>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const auto gain = call.ports[kGain].view<const float>();
  const auto dark = call.ports[kDark].view<const float>(), darkError = call.ports[kDarkError].view<const float>();
  const auto signal = call.ports[kSignal].view<float>(), sigma = call.ports[kSigma].view<float>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const VF zero = hn::Zero(d), missing = hn::NaN(d);
  ForPixels<1>(rate.rows, rate.cols, [&](int64_t row, int64_t x, int count, auto) HWY_ATTR {
    VF r = LoadPart(d, rate.at(0, row) + x, count), e = LoadPart(d, error.at(0, row) + x, count);
    const VF g = LoadPart(d, gain.at(0, row) + x, count);
    const auto positive = hn::And(hn::Gt(g, zero), hn::Gt(e, zero));
    if (dark.data != nullptr) r = hn::Sub(r, LoadPart(d, dark.at(0, row) + x, count));
    if (darkError.data != nullptr) {
      const VF own = LoadPart(d, darkError.at(0, row) + x, count);
      e = hn::Sqrt(hn::MulAdd(own, own, hn::Mul(e, e)));
    }
    r = hn::Mul(r, g);
    e = hn::Mul(e, g);
    const auto number =
        hn::And(hn::Lt(hn::Abs(r), hn::Set(d, 1e18f)),
                hn::And(positive, hn::And(hn::Gt(e, hn::Set(d, 1e-15f)), hn::Lt(e, hn::Set(d, 1e15f)))));
    const auto flags = hn::Set(du, dq::kNoData | dq::kSaturated | dq::kNoCalibration | dq::kReferencePixel);
    const auto clean = hn::Eq(hn::And(LoadPart(du, dq.at(0, row) + x, count), flags), hn::Zero(du));
    const auto use = hn::And(number, hn::RebindMask(d, clean));
    StorePart(d, hn::IfThenElse(use, r, missing), signal.at(0, row) + x, count);
    StorePart(d, hn::IfThenElse(use, e, missing), sigma.at(0, row) + x, count);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::take_flat {
namespace {
HWY_EXPORT(TakeFlat);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(TakeFlat)(call); }
}  // namespace rampline::take_flat
#endif
