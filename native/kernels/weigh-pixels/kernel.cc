#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/weigh-pixels/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/weigh-pixels.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::weigh_pixels;  // NOLINT: the generated ports and parameters

struct Row {
  const float *value, *error;
  const uint32_t* dq;
  float* ivar;
};

template <class D>
HWY_INLINE void Pixels(D d, const Row& p, int64_t x, uint32_t skip, float photons) {
  const hn::RebindToUnsigned<D> du;
  const auto most = hn::Set(d, std::numeric_limits<float>::max());
  const auto finite = [&](auto v) HWY_ATTR { return hn::Le(hn::Abs(v), most); };  // false for NaN
  const auto value = hn::LoadU(d, p.value + x), error = hn::LoadU(d, p.error + x);
  const auto variance = hn::Mul(error, error);
  const auto own = hn::Mul(hn::Set(d, photons), hn::Max(value, hn::Zero(d)));
  const auto rest = hn::Max(hn::Sub(variance, own), hn::Mul(variance, hn::Set(d, 0.1f)));
  const auto weight = hn::Div(hn::Set(d, 1.0f), rest);
  const auto clear = hn::RebindMask(d, hn::Eq(hn::And(hn::LoadU(du, p.dq + x), hn::Set(du, skip)), hn::Zero(du)));
  const auto known = hn::And(finite(value), hn::And(finite(error), hn::Gt(error, hn::Zero(d))));
  const auto counts = hn::And(hn::And(clear, known), finite(weight));
  hn::StoreU(hn::IfThenElseZero(counts, weight), d, p.ivar + x);
}

Status WeighPixels(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto skip = static_cast<uint32_t>(params.skip);
  const auto value = call.ports[kValue].view<const float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < value.rows; row++) {
    const Row p = {value.at(0, row), call.ports[kError].view<const float>().at(0, row),
                   call.ports[kDq].view<const uint32_t>().at(0, row), call.ports[kIvar].view<float>().at(0, row)};
    int64_t x = 0;
    for (; x + n <= value.cols; x += n) Pixels(d, p, x, skip, params.photons);
    for (; x < value.cols; x++) Pixels(d1, p, x, skip, params.photons);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::weigh_pixels {
namespace {
HWY_EXPORT(WeighPixels);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(WeighPixels)(call); }
}  // namespace rampline::weigh_pixels
#endif
