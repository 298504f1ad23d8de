// y_k = x_k - amplitude * decay_k.
#if defined(RAMPLINE_KERNELS_CORRECT_RESET_ANOMALY_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_CORRECT_RESET_ANOMALY_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_CORRECT_RESET_ANOMALY_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_CORRECT_RESET_ANOMALY_OPERATOR_INL_H_
#endif

#include "generated/correct-reset-anomaly.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace correct_reset_anomaly {
using namespace rampline::correct_reset_anomaly;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x)
      : amplitude_(hn::LoadU(d, call.ports[kAmplitude].view<const float>().at(0, row) + x)),
        decay_(call.ports[kDecay].view<const float>()) {}

  HWY_INLINE V operator()(D d, V v, int64_t plane) {
    return hn::NegMulAdd(amplitude_, hn::Set(d, *decay_.at(plane, 0)), v);
  }

  HWY_INLINE void End(D) {}

 private:
  V amplitude_;
  View<const float> decay_;
};

}  // namespace correct_reset_anomaly
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
