// trap * min(max(rate, 0) * reads, (well + c2 well^2 + c3 well^3) * gain).
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
      : trap_(Load(d, call, kTrap, row, x)), reads_(hn::Set(d, static_cast<float>(ParamsOf(call).reads))) {
    const V well = Load(d, call, kWell, row, x), square = hn::Mul(well, well);
    const V bent = hn::Add(hn::Add(well, hn::Mul(Load(d, call, kC2, row, x), square)),
                           hn::Mul(Load(d, call, kC3, row, x), hn::Mul(square, well)));
    full_ = hn::Mul(bent, Load(d, call, kGain, row, x));
  }

  HWY_INLINE V operator()(D d, V rate, int64_t) {
    const V fluence = hn::Mul(hn::IfThenElseZero(hn::Gt(rate, hn::Zero(d)), rate), reads_);
    return hn::Mul(trap_, hn::IfThenElse(hn::Lt(fluence, full_), fluence, full_));
  }

  HWY_INLINE void End(D) {}

 private:
  static HWY_INLINE V Load(D d, const KernelCall& call, size_t port, int64_t row, int64_t x) {
    return hn::LoadU(d, call.ports[port].view<const float>().at(0, row) + x);
  }

  V trap_, reads_, full_;
};

}  // namespace mock_trap
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
