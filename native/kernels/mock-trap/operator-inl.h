// trap * min(max(rate, 0) * reads, well * gain).
#if defined(RAMPLINE_KERNELS_MOCK_TRAP_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_MOCK_TRAP_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_MOCK_TRAP_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_MOCK_TRAP_OPERATOR_INL_H_
#endif

#include "generated/mock-trap.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace mock_trap {
using namespace rampline::mock_trap;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x)
      : trap_(hn::LoadU(d, call.ports[kTrap].view<const float>().at(0, row) + x)),
        full_(hn::Mul(hn::LoadU(d, call.ports[kWell].view<const float>().at(0, row) + x),
                      hn::LoadU(d, call.ports[kGain].view<const float>().at(0, row) + x))),
        reads_(hn::Set(d, static_cast<float>(ParamsOf(call).reads))) {}

  HWY_INLINE V operator()(D d, V rate, int64_t) {
    const V fluence = hn::Mul(hn::IfThenElseZero(hn::Gt(rate, hn::Zero(d)), rate), reads_);
    return hn::Mul(trap_, hn::IfThenElse(hn::Lt(fluence, full_), fluence, full_));
  }

  HWY_INLINE void End(D) {}

 private:
  V trap_, full_, reads_;
};

}  // namespace mock_trap
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
