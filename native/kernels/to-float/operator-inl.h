// The conversion itself is done by the loop, when it loads a 16-bit value; this kernel is its name in a chain.
#if defined(RAMPLINE_KERNELS_TO_FLOAT_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_TO_FLOAT_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_TO_FLOAT_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_TO_FLOAT_OPERATOR_INL_H_
#endif

#include "generated/to-float.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace to_float {
using namespace rampline::to_float;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D, const KernelCall&, int64_t, int64_t) {}
  HWY_INLINE V operator()(D, V v, int64_t) { return v; }
  HWY_INLINE void End(D) {}
};

}  // namespace to_float
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
