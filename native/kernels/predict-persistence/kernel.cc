// Fluence of the earlier exposure times what of it is released now.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/predict-persistence/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/dq.h"
#include "generated/predict-persistence.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::predict_persistence;  // NOLINT: the generated ports and parameters

template <class D>
HWY_INLINE void Pixels(D d, const KernelCall& call, int64_t row, int64_t x, const Params& params) {
  const hn::RebindToUnsigned<D> du;
  const auto rate = hn::LoadU(d, call.ports[kRate].view<const float>().at(0, row) + x);
  const auto amplitude = hn::LoadU(d, call.ports[kAmplitude].view<const float>().at(0, row) + x);
  const auto flags = hn::LoadU(du, call.ports[kDq].view<const uint32_t>().at(0, row) + x);
  float* expected = call.ports[kExpected].view<float>().at(0, row) + x;
  const auto full =
      hn::RebindMask(d, hn::Ne(hn::And(flags, hn::Set(du, uint32_t{dq::kSaturated | dq::kNoData})), hn::Zero(du)));
  const auto well = hn::Set(d, params.well);
  const auto light = hn::IfThenElseZero(hn::Gt(rate, hn::Zero(d)), hn::Mul(rate, hn::Set(d, params.reads)));
  const auto fluence = hn::IfThenElse(full, well, hn::Min(light, well));
  const auto added = hn::Mul(hn::Mul(amplitude, fluence), hn::Set(d, params.decay));
  const auto known = hn::And(hn::Le(hn::Abs(added), hn::Set(d, std::numeric_limits<float>::max())), hn::Eq(rate, rate));
  hn::StoreU(hn::Add(hn::LoadU(d, expected), hn::IfThenElseZero(known, added)), d, expected);
}

Status PredictPersistence(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto expected = call.ports[kExpected].view<float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < expected.rows; row++) {
    int64_t x = 0;
    for (; x + n <= expected.cols; x += n) Pixels(d, call, row, x, params);
    for (; x < expected.cols; x++) Pixels(d1, call, row, x, params);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::predict_persistence {
namespace {
HWY_EXPORT(PredictPersistence);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(PredictPersistence)(call); }
}  // namespace rampline::predict_persistence
#endif
