#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/stretch-asinh/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After foreach_target.h: it is compiled once for each target.
#include <hwy/contrib/math/math-inl.h>

#include <cmath>

#include "generated/stretch-asinh.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

struct Stretch {
  float low, scale, softening, norm, floor;
};

template <class D>
HWY_INLINE void StretchVector(D d, const Stretch& s, const float* in, uint8_t* out) {
  const hn::Rebind<uint8_t, D> d8;
  const auto v = hn::LoadU(d, in);
  const auto one = hn::Set(d, 1.0f);
  auto t = hn::Mul(hn::Sub(v, hn::Set(d, s.low)), hn::Set(d, s.scale));
  const auto missing = hn::Not(hn::Eq(v, v));
  // Min and Max would give NaN an arbitrary side.
  t = hn::IfThenElseZero(hn::Ge(t, hn::Zero(d)), hn::Min(t, one));
  t = hn::Mul(t, hn::Set(d, s.softening));
  // asinh t = log(t + sqrt(t^2 + 1)), t >= 0, so no cancellation
  const auto a = hn::Log(d, hn::Add(t, hn::Sqrt(hn::MulAdd(t, t, one))));
  const auto grey = hn::IfThenZeroElse(missing, hn::MulAdd(a, hn::Set(d, s.norm), hn::Set(d, s.floor)));
  hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(grey)), d8, out);
}

}  // namespace

Status StretchAsinh(const KernelCall& call) {
  using namespace rampline::stretch_asinh;  // NOLINT: the generated ports and parameters
  const Params& p = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  const auto grey = call.ports[kGrey].view<uint8_t>();
  const float range = p.high - p.low;
  const auto floor = static_cast<float>(p.floor);
  const Stretch s{p.low, range > 0 ? 1.0f / range : 0.0f, p.softening, (255.0f - floor) / std::asinh(p.softening),
                  floor};
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < image.rows; row++) {
    const float* in = image.at(0, row);
    uint8_t* out = grey.at(0, row);
    int64_t x = 0;
    for (; x + n <= image.cols; x += n) StretchVector(d, s, in + x, out + x);
    for (; x < image.cols; x++) StretchVector(d1, s, in + x, out + x);
  }
  return Ok();
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
HWY_EXPORT(StretchAsinh);
Status stretch_asinh::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(StretchAsinh)(call); }
}  // namespace rampline
#endif
