// A read at or above the level makes this read and all later ones missing.
#if defined(RAMPLINE_KERNELS_LATCH_SATURATION_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_LATCH_SATURATION_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_LATCH_SATURATION_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_LATCH_SATURATION_OPERATOR_INL_H_
#endif

#include "generated/latch-saturation.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace latch_saturation {
using namespace rampline::latch_saturation;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x)
      : limit_(hn::Mul(hn::LoadU(d, call.ports[kLevel].view<const float>().at(0, row) + x),
                       hn::Set(d, ParamsOf(call).fraction))),
        good_(hn::Zero(d)),
        saturated_(hn::MaskFromVec(hn::Zero(d))),
        lastGood_(call.ports[kLastGood].view<uint16_t>().at(0, row) + x) {}

  HWY_INLINE V operator()(D d, V v, int64_t) {
    saturated_ = hn::Or(saturated_, hn::Ge(v, limit_));  // false for NaN on either side
    good_ = hn::Add(good_, hn::IfThenZeroElse(saturated_, hn::Set(d, 1.0f)));
    return hn::IfThenElse(saturated_, hn::NaN(d), v);
  }

  HWY_INLINE void End(D) {
    const hn::RebindToSigned<D> d32;
    const hn::Rebind<uint16_t, D> d16;
    hn::StoreU(hn::DemoteTo(d16, hn::ConvertTo(d32, good_)), d16, lastGood_);
  }

 private:
  V limit_, good_;
  hn::Mask<D> saturated_;
  uint16_t* lastGood_;
};

}  // namespace latch_saturation
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
