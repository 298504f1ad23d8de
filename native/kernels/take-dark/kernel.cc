#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/take-dark/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/take-dark.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                 // NOLINT: short names for registers of pixels
using namespace rampline::take_dark;  // NOLINT: the generated ports

Status TakeDark(const KernelCall& call) {
  const auto rate = call.ports[kRate].view<const float>(), error = call.ports[kError].view<const float>();
  const auto chi2 = call.ports[kChi2].view<const float>();
  const auto goodDiffs = call.ports[kGoodDiffs].view<const uint16_t>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const auto level = call.ports[kLevel].view<float>(), sigma = call.ports[kSigma].view<float>();
  const auto chi2Sum = call.ports[kChi2Sum].view<float>(), dofSum = call.ports[kDofSum].view<float>();
  const auto jumped = call.ports[kJumped].view<uint16_t>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), missing = hn::NaN(d);
  ForPixels<1>(rate.rows, rate.cols, [&](int64_t row, int64_t x, int count, auto) HWY_ATTR {
    const VF r = LoadPart(d, rate.at(0, row) + x, count), e = LoadPart(d, error.at(0, row) + x, count);
    const VF c = LoadPart(d, chi2.at(0, row) + x, count), n = LoadCounts(d, goodDiffs.at(0, row) + x, count);
    const auto bits = LoadPart(du, dq.at(0, row) + x, count);
    const auto has = [&](uint32_t which) HWY_ATTR {
      return hn::RebindMask(d, hn::Ne(hn::And(bits, hn::Set(du, which)), hn::Zero(du)));
    };
    const auto number = hn::And(hn::Lt(hn::Abs(r), hn::Set(d, 1e18f)),
                                hn::And(hn::Gt(e, hn::Set(d, 1e-15f)), hn::Lt(e, hn::Set(d, 1e15f))));
    const auto use = hn::AndNot(has(dq::kNoData | dq::kSaturated | dq::kNoCalibration), number);
    const auto judged = hn::And(hn::AndNot(has(dq::kNoChi2), use),
                                hn::And(hn::Gt(n, one), hn::And(hn::Ge(c, zero), hn::Lt(c, hn::Set(d, 1e30f)))));
    StorePart(d, hn::IfThenElse(use, r, missing), level.at(0, row) + x, count);
    StorePart(d, hn::IfThenElse(use, e, missing), sigma.at(0, row) + x, count);
    float* chi2At = chi2Sum.at(0, row) + x;
    float* dofAt = dofSum.at(0, row) + x;
    uint16_t* jumpedAt = jumped.at(0, row) + x;
    StorePart(d, hn::Add(LoadPart(d, chi2At, count), hn::IfThenElseZero(judged, c)), chi2At, count);
    StorePart(d, hn::Add(LoadPart(d, dofAt, count), hn::IfThenElseZero(judged, hn::Sub(n, one))), dofAt, count);
    const auto jump = hn::And(use, has(dq::kJump | dq::kJumps));
    StoreCounts(d, hn::Add(LoadCounts(d, jumpedAt, count), hn::IfThenElseZero(jump, one)), jumpedAt, count);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::take_dark {
namespace {
HWY_EXPORT(TakeDark);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(TakeDark)(call); }
}  // namespace rampline::take_dark
#endif
