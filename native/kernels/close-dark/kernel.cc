#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/close-dark/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/close-dark.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for registers of pixels
using namespace rampline::close_dark;  // NOLINT: the generated ports and parameters

// Whether chi2 of dof degrees exceeds `limit` a degree, and 1 by more than chance (README.md).
HWY_INLINE hn::Mask<DF> Exceeds(DF d, VF chi2, VF dof, VF limit, VF z) {
  const VF one = hn::Set(d, 1.0f), some = hn::Max(dof, one);
  const VF h = hn::Div(hn::Set(d, 2.0f / 9.0f), some), root = hn::MulAdd(z, hn::Sqrt(h), hn::Sub(one, h));
  const VF chance = hn::Mul(root, hn::Mul(root, root));
  const auto much = hn::Gt(chi2, hn::Mul(some, hn::Max(limit, chance)));
  return hn::And(hn::Ge(dof, one), much);
}

Status CloseDark(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto mean = call.ports[kMean].view<const float>(), weight = call.ports[kWeight].view<const float>();
  const auto variance = call.ports[kVariance].view<const float>(), expected = call.ports[kExpected].view<const float>();
  const auto scatter = call.ports[kScatter].view<const float>(), chi2Sum = call.ports[kChi2Sum].view<const float>();
  const auto dofSum = call.ports[kDofSum].view<const float>();
  const auto count = call.ports[kCount].view<const uint16_t>(), rejected = call.ports[kRejected].view<const uint16_t>();
  const auto jumped = call.ports[kJumped].view<const uint16_t>();
  const auto rate = call.ports[kRate].view<float>(), error = call.ports[kError].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), missing = hn::NaN(d), z = hn::Set(d, params.noisySigma);
  const VF share = hn::Set(d, params.telegraphShare), least = hn::Set(d, static_cast<float>(params.telegraphLeast));
  ForPixels<1>(mean.rows, mean.cols, [&](int64_t row, int64_t x, int part, auto) HWY_ATTR {
    const VF m = LoadPart(d, mean.at(0, row) + x, part), w = LoadPart(d, weight.at(0, row) + x, part);
    const VF v = LoadPart(d, variance.at(0, row) + x, part), e = LoadPart(d, expected.at(0, row) + x, part);
    const VF n = LoadCounts(d, count.at(0, row) + x, part), out = LoadCounts(d, rejected.at(0, row) + x, part);
    const VF jumps = LoadCounts(d, jumped.at(0, row) + x, part);
    const VF raw = hn::Div(hn::Sqrt(hn::Max(v, zero)), hn::IfThenElse(hn::Gt(w, zero), w, one));
    const auto usable = hn::And(hn::And(hn::Ge(n, one), hn::IsFinite(m)),
                                hn::And(hn::Gt(raw, zero), hn::And(hn::IsFinite(raw), hn::Gt(w, zero))));
    // The chi-square of the exposures against their mean, for errors that are all the same.
    const auto known = hn::Gt(e, hn::Set(d, 1e-30f));
    const VF chi2 = hn::IfThenElseZero(
        known, hn::Div(hn::Mul(LoadPart(d, scatter.at(0, row) + x, part), n), hn::IfThenElse(known, e, one)));
    const VF dof = hn::Sub(n, one), reduced = hn::Div(chi2, hn::Max(dof, one));
    const VF f = hn::IfThenElse(Exceeds(d, chi2, dof, one, hn::Set(d, params.inflateSigma)), reduced, one);
    const VF sigma = hn::Mul(raw, hn::Sqrt(f));
    StorePart(d, hn::IfThenElse(usable, m, missing), rate.at(0, row) + x, part);
    StorePart(d, hn::IfThenElse(usable, sigma, missing), error.at(0, row) + x, part);
    const auto noisy = hn::Or(Exceeds(d, chi2, dof, hn::Set(d, params.noisyScatter), z),
                              Exceeds(d, LoadPart(d, chi2Sum.at(0, row) + x, part),
                                      LoadPart(d, dofSum.at(0, row) + x, part), hn::Set(d, params.noisyRamps), z));
    const VF most = hn::Mul(share, hn::Add(n, out)), many = hn::Max(jumps, out);
    const auto telegraph = hn::And(hn::Ge(many, least), hn::Gt(many, most));
    const auto bit = [&](hn::Mask<DF> where, uint32_t value)
                         HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(du, where), hn::Set(du, value)); };
    auto bits = LoadPart(du, dq.at(0, row) + x, part);
    bits = hn::Or(bits, hn::Or(bit(hn::Not(usable), dq::kNoCalibration),
                               hn::Or(bit(noisy, dq::kNoisy), bit(telegraph, dq::kTelegraph))));
    StorePart(du, bits, dq.at(0, row) + x, part);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::close_dark {
namespace {
HWY_EXPORT(CloseDark);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CloseDark)(call); }
}  // namespace rampline::close_dark
#endif
