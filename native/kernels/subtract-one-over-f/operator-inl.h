// Linear interpolation in clock time between the three values of the row and amplifier.
#if defined(RAMPLINE_KERNELS_SUBTRACT_ONE_OVER_F_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_SUBTRACT_ONE_OVER_F_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_SUBTRACT_ONE_OVER_F_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_SUBTRACT_ONE_OVER_F_OPERATOR_INL_H_
#endif

#include "generated/subtract-one-over-f.h"
#include "native/core/geometry.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace subtract_one_over_f {
using namespace rampline::subtract_one_over_f;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x) {
    const View<const float> correction = call.ports[kCorrection].view<const float>();
    knots_ = correction.at(0, row);
    stride_ = correction.planeStride;
    const int64_t first = call.origin.x + x;
    const int64_t last = first + static_cast<int64_t>(hn::Lanes(d)) - 1;
    const int64_t half = HalfOf(first), nextHalf = HalfOf(last);
    straddles_ = half != nextHalf;
    own_ = Side(d, half, first);
    if (straddles_) {
      const float boundary = static_cast<float>((half + 1) * kHalf - first);
      const hn::Mask<D> isNext = hn::Ge(hn::Iota(d, 0.0f), hn::Set(d, boundary));
      next_ = Side(d, nextHalf, first);
      own_.left = hn::IfThenZeroElse(isNext, own_.left);
      own_.right = hn::IfThenZeroElse(isNext, own_.right);
      next_.left = hn::IfThenElseZero(isNext, next_.left);
      next_.right = hn::IfThenElseZero(isNext, next_.right);
    }
  }

  HWY_INLINE V operator()(D d, V v, int64_t plane) {
    const float* knots = knots_ + plane * stride_;
    v = Apply(d, own_, knots, v);
    if (HWY_UNLIKELY(straddles_)) v = Apply(d, next_, knots, v);
    return v;
  }

  HWY_INLINE void End(D) {}

 private:
  static constexpr int64_t kHalf = kAmplifierColumns / 2;  // columns between two knots

  // Weights of the knots at the left and the right end of half an amplifier's columns, and their places in the table.
  struct Weights {
    HWY_INLINE Weights() {}
    V left, right;
    int64_t leftKnot, rightKnot;
  };

  static HWY_INLINE int64_t HalfOf(int64_t x) { return (x < kScienceColumns ? x : kScienceColumns - 1) / kHalf; }

  static HWY_INLINE Weights Side(D d, int64_t half, int64_t first) {
    const int64_t amplifier = half / 2, part = half % 2;
    Weights w;
    const bool flipped = IsFlipped(amplifier);
    w.leftKnot = amplifier * 3 + (flipped ? 2 - part : part);
    w.rightKnot = amplifier * 3 + (flipped ? 1 - part : part + 1);
    // A pixel stands for the middle of its clock tick. The products are exact: kHalf is a power of two.
    const V column = hn::Iota(d, static_cast<float>(first - half * kHalf) + 0.5f);
    w.right = hn::Mul(column, hn::Set(d, 1.0f / kHalf));
    w.left = hn::Sub(hn::Set(d, 1.0f), w.right);
    return w;
  }

  static HWY_INLINE V Apply(D d, const Weights& w, const float* knots, V v) {
    v = hn::NegMulAdd(w.left, hn::Set(d, knots[w.leftKnot]), v);
    return hn::NegMulAdd(w.right, hn::Set(d, knots[w.rightKnot]), v);
  }

  Weights own_, next_;
  const float* knots_;
  int64_t stride_;
  bool straddles_;
};

}  // namespace subtract_one_over_f
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
