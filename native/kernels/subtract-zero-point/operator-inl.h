// y = x - offset of the read and of the amplifier that the column belongs to.
#if defined(RAMPLINE_KERNELS_SUBTRACT_ZERO_POINT_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_SUBTRACT_ZERO_POINT_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_SUBTRACT_ZERO_POINT_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_SUBTRACT_ZERO_POINT_OPERATOR_INL_H_
#endif

#include "generated/subtract-zero-point.h"
#include "native/core/geometry.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace subtract_zero_point {
using namespace rampline::subtract_zero_point;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t, int64_t x)
      : offsets_(call.ports[kOffsets].view<const float>()) {
    const int64_t first = call.origin.x + x;
    const int64_t last = first + static_cast<int64_t>(hn::Lanes(d)) - 1;
    amplifier_ = AmplifierOf(first);
    next_ = AmplifierOf(last);
    // Lanes of the next amplifier, where a vector lies over the boundary of two.
    const float boundary = static_cast<float>((amplifier_ + 1) * kAmplifierColumns - first);
    isNext_ = hn::Ge(hn::Iota(d, 0.0f), hn::Set(d, boundary));
  }

  HWY_INLINE V operator()(D d, V v, int64_t plane) {
    const float* offset = offsets_.at(plane, 0);
    const V own = hn::Set(d, offset[amplifier_]);
    if (HWY_LIKELY(next_ == amplifier_)) return hn::Sub(v, own);
    return hn::Sub(v, hn::IfThenElse(isNext_, hn::Set(d, offset[next_]), own));
  }

  HWY_INLINE void End(D) {}

 private:
  View<const float> offsets_;
  int64_t amplifier_, next_;
  hn::Mask<D> isNext_;
};

}  // namespace subtract_zero_point
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
