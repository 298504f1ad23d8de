#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/row-step/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/row-step.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE void Step(D d, const float* above, const float* below, const float* aboveError, const float* belowError,
                     float* step, float* ivar) {
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const auto a = hn::LoadU(d, above), b = hn::LoadU(d, below);
  const auto ea = hn::LoadU(d, aboveError), eb = hn::LoadU(d, belowError);
  const auto finite = hn::And(hn::And(hn::IsFinite(a), hn::IsFinite(b)), hn::And(hn::IsFinite(ea), hn::IsFinite(eb)));
  const auto counts = hn::And(finite, hn::And(hn::Gt(ea, zero), hn::Gt(eb, zero)));
  const auto variance = hn::IfThenElse(counts, hn::Add(hn::Mul(ea, ea), hn::Mul(eb, eb)), one);
  hn::StoreU(hn::IfThenElseZero(counts, hn::Sub(a, b)), d, step);
  hn::StoreU(hn::IfThenElseZero(counts, hn::Div(one, variance)), d, ivar);
}

Status RowStep(const KernelCall& call) {
  using namespace rampline::row_step;  // NOLINT: the generated ports
  const auto above = call.ports[kAbove].view<const float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < above.rows; row++) {
    const float *a = above.at(0, row), *b = call.ports[kBelow].view<const float>().at(0, row);
    const float *ea = call.ports[kAboveError].view<const float>().at(0, row),
                *eb = call.ports[kBelowError].view<const float>().at(0, row);
    float *step = call.ports[kStep].view<float>().at(0, row), *ivar = call.ports[kIvar].view<float>().at(0, row);
    int64_t x = 0;
    for (; x + n <= above.cols; x += n) Step(d, a + x, b + x, ea + x, eb + x, step + x, ivar + x);
    for (; x < above.cols; x++) Step(d1, a + x, b + x, ea + x, eb + x, step + x, ivar + x);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::row_step {
namespace {
HWY_EXPORT(RowStep);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RowStep)(call); }
}  // namespace rampline::row_step
#endif
