// max(rate, 0) + trapped * decay, without MulAdd: every target rounds alike.
#if defined(RAMPLINE_KERNELS_MOCK_RELEASE_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_MOCK_RELEASE_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_MOCK_RELEASE_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_MOCK_RELEASE_OPERATOR_INL_H_
#endif

#include "generated/mock-release.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace mock_release {
using namespace rampline::mock_release;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x)
      : trapped_(hn::LoadU(d, call.ports[kTrapped].view<const float>().at(0, row) + x)),
        decay_(hn::Set(d, ParamsOf(call).decay)) {}

  HWY_INLINE V operator()(D d, V rate, int64_t) {
    return hn::Add(hn::IfThenElseZero(hn::Gt(rate, hn::Zero(d)), rate), hn::Mul(trapped_, decay_));
  }

  HWY_INLINE void End(D) {}

 private:
  V trapped_, decay_;
};

}  // namespace mock_release
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
