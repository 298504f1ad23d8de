// light * response + dark, without MulAdd: every target rounds alike.
#if defined(RAMPLINE_KERNELS_MOCK_LIGHT_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_MOCK_LIGHT_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_MOCK_LIGHT_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_MOCK_LIGHT_OPERATOR_INL_H_
#endif

#include "generated/mock-light.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace mock_light {
using namespace rampline::mock_light;  // NOLINT: the generated ports and parameters

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t row, int64_t x)
      : response_(hn::LoadU(d, call.ports[kResponse].view<const float>().at(0, row) + x)),
        dark_(hn::LoadU(d, call.ports[kDark].view<const float>().at(0, row) + x)) {}

  HWY_INLINE V operator()(D, V light, int64_t) { return hn::Add(hn::Mul(light, response_), dark_); }

  HWY_INLINE void End(D) {}

 private:
  V response_, dark_;
};

}  // namespace mock_light
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
