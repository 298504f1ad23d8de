// d_k = x_{k+1} - x_k; what comes out for the first plane has no meaning and the loop drops it.
#if defined(RAMPLINE_KERNELS_DIFFERENCE_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_DIFFERENCE_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_DIFFERENCE_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_DIFFERENCE_OPERATOR_INL_H_
#endif

#include "generated/difference.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace difference {
using namespace rampline::difference;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall&, int64_t, int64_t) : previous_(hn::Zero(d)) {}

  HWY_INLINE V operator()(D, V v, int64_t) {
    const V difference = hn::Sub(v, previous_);
    previous_ = v;
    return difference;
  }

  HWY_INLINE void End(D) {}

 private:
  V previous_;
};

}  // namespace difference
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
