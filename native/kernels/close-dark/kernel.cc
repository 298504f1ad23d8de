#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/close-dark/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/close-dark.h"
#include "native/core/ramp-inl.h"
#include "native/core/scatter-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for registers of pixels
using namespace rampline::close_dark;  // NOLINT: the generated ports and parameters

Status CloseDark(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto mean = call.ports[kMean].view<const float>(), weight = call.ports[kWeight].view<const float>();
  const auto variance = call.ports[kVariance].view<const float>(), expected = call.ports[kExpected].view<const float>();
  const auto sums = call.ports[kScatter].view<const float>(), chi2Sum = call.ports[kChi2Sum].view<const float>();
  const auto dofSum = call.ports[kDofSum].view<const float>();
  const auto count = call.ports[kCount].view<const uint16_t>(), rejected = call.ports[kRejected].view<const uint16_t>();
  const auto jumped = call.ports[kJumped].view<const uint16_t>();
  const auto rate = call.ports[kRate].view<float>(), error = call.ports[kError].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const VF missing = hn::NaN(d), z = hn::Set(d, params.noisySigma);
  const VF share = hn::Set(d, params.telegraphShare), least = hn::Set(d, static_cast<float>(params.telegraphLeast));
  ForPixels<1>(mean.rows, mean.cols, [&](int64_t row, int64_t x, int part, auto) HWY_ATTR {
    const VF m = LoadPart(d, mean.at(0, row) + x, part), w = LoadPart(d, weight.at(0, row) + x, part);
    const VF v = LoadPart(d, variance.at(0, row) + x, part), e = LoadPart(d, expected.at(0, row) + x, part);
    const VF n = LoadCounts(d, count.at(0, row) + x, part), out = LoadCounts(d, rejected.at(0, row) + x, part);
    const VF jumps = LoadCounts(d, jumped.at(0, row) + x, part);
    const scatter::Closed closed =
        scatter::Close(d, m, w, v, e, LoadPart(d, sums.at(0, row) + x, part), n, params.inflateSigma);
    const auto usable = closed.usable;
    StorePart(d, hn::IfThenElse(usable, m, missing), rate.at(0, row) + x, part);
    StorePart(d, hn::IfThenElse(usable, closed.error, missing), error.at(0, row) + x, part);
    const auto noisy =
        hn::Or(scatter::Exceeds(d, closed.chi2, closed.dof, hn::Set(d, params.noisyScatter), z),
               scatter::Exceeds(d, LoadPart(d, chi2Sum.at(0, row) + x, part), LoadPart(d, dofSum.at(0, row) + x, part),
                                hn::Set(d, params.noisyRamps), z));
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
