// y = x + c2 x^2 + c3 x^3, missing beyond the range for which the polynomial was fitted.
#if defined(RAMPLINE_KERNELS_LINEARISE_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_LINEARISE_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_LINEARISE_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_LINEARISE_OPERATOR_INL_H_
#endif

#include "generated/linearise.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace linearise {
using namespace rampline::linearise;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x)
      : c2_(hn::LoadU(d, call.ports[kC2].view<const float>().at(0, row) + x)),
        c3_(hn::LoadU(d, call.ports[kC3].view<const float>().at(0, row) + x)),
        limit_(hn::LoadU(d, call.ports[kLimit].view<const float>().at(0, row) + x)) {}

  HWY_INLINE V operator()(D d, V v, int64_t) {
    const V linear = hn::MulAdd(hn::Mul(v, v), hn::MulAdd(v, c3_, c2_), v);
    return hn::IfThenElse(hn::Le(v, limit_), linear, hn::NaN(d));  // the comparison is false for NaN too
  }

  HWY_INLINE void End(D) {}

 private:
  V c2_, c3_, limit_;
};

}  // namespace linearise
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
