#if defined(RAMPLINE_KERNELS_SQUARE_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_SQUARE_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_SQUARE_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_SQUARE_OPERATOR_INL_H_
#endif

#include "generated/square.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace square {

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D, const KernelCall&, int64_t, int64_t) {}
  HWY_INLINE V operator()(D, V v, int64_t) { return hn::Mul(v, v); }
  HWY_INLINE void End(D) {}
};

}  // namespace square
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
