#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/close-flat/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/close-flat.h"
#include "native/core/ramp-inl.h"
#include "native/core/scatter-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for registers of pixels
using namespace rampline::close_flat;  // NOLINT: the generated ports and parameters

Status CloseFlat(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto mean = call.ports[kMean].view<const float>(), weight = call.ports[kWeight].view<const float>();
  const auto variance = call.ports[kVariance].view<const float>(), expected = call.ports[kExpected].view<const float>();
  const auto sums = call.ports[kScatter].view<const float>();
  const auto count = call.ports[kCount].view<const uint16_t>(), rejected = call.ports[kRejected].view<const uint16_t>();
  const auto flat = call.ports[kFlat].view<float>(), error = call.ports[kError].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const VF missing = hn::NaN(d), z = hn::Set(d, params.unstableSigma), norm = hn::Set(d, params.norm);
  const VF share = hn::Set(d, params.unstableShare), limit = hn::Set(d, params.unstableScatter);
  ForPixels<1>(mean.rows, mean.cols, [&](int64_t row, int64_t x, int part, auto) HWY_ATTR {
    const VF m = LoadPart(d, mean.at(0, row) + x, part), w = LoadPart(d, weight.at(0, row) + x, part);
    const VF v = LoadPart(d, variance.at(0, row) + x, part), e = LoadPart(d, expected.at(0, row) + x, part);
    const VF n = LoadCounts(d, count.at(0, row) + x, part), out = LoadCounts(d, rejected.at(0, row) + x, part);
    const scatter::Closed closed =
        scatter::Close(d, m, w, v, e, LoadPart(d, sums.at(0, row) + x, part), n, params.inflateSigma);
    const auto usable = closed.usable;
    const auto wide = scatter::Exceeds(d, closed.chi2, closed.dof, limit, z);
    const auto unstable = hn::Or(wide, hn::Gt(out, hn::Mul(share, hn::Add(n, out))));
    StorePart(d, hn::IfThenElse(usable, hn::Div(m, norm), missing), flat.at(0, row) + x, part);
    StorePart(d, hn::IfThenElse(usable, hn::Div(closed.error, norm), missing), error.at(0, row) + x, part);
    const auto bit = [&](hn::Mask<DF> where, uint32_t value)
                         HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(du, where), hn::Set(du, value)); };
    auto bits = LoadPart(du, dq.at(0, row) + x, part);
    bits =
        hn::Or(bits, hn::Or(bit(hn::Not(usable), dq::kNoFlat | dq::kNoCalibration), bit(unstable, dq::kUnstableFlat)));
    StorePart(du, bits, dq.at(0, row) + x, part);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::close_flat {
namespace {
HWY_EXPORT(CloseFlat);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CloseFlat)(call); }
}  // namespace rampline::close_flat
#endif
