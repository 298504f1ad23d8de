// (1 - t) a + t b: exact at both ends, and no sum of two finite maps overflows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/interpolate-maps/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/interpolate-maps.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::interpolate_maps;  // NOLINT: the generated ports and parameters

template <class D>
HWY_INLINE void Pixels(D d, const KernelCall& call, int64_t row, int64_t x, float t) {
  const hn::RebindToUnsigned<D> du;
  const auto load = [&](Port port)
                        HWY_ATTR { return hn::LoadU(d, call.ports[port].view<const float>().at(0, row) + x); };
  const auto flags = [&](Port port)
                         HWY_ATTR { return hn::LoadU(du, call.ports[port].view<const uint32_t>().at(0, row) + x); };
  const auto most = hn::Set(d, std::numeric_limits<float>::max());
  const auto a = load(kA), p = load(kAError), b = load(kB), q = load(kBError);
  const auto hasA = hn::And(hn::Le(hn::Abs(a), most), hn::Le(hn::Abs(p), most));
  const auto hasB = hn::And(hn::Le(hn::Abs(b), most), hn::Le(hn::Abs(q), most));
  const auto late = hn::Set(d, t), early = hn::Sub(hn::Set(d, 1.0f), late);
  const auto one = hn::Mul(early, p), other = hn::Mul(late, q);
  const auto v = hn::Add(hn::Mul(early, a), hn::Mul(late, b));
  const auto s = hn::Sqrt(hn::Add(hn::Mul(one, one), hn::Mul(other, other)));
  const auto pick = [&](auto both, auto onlyA, auto onlyB) HWY_ATTR {
    return hn::IfThenElse(hasA, hn::IfThenElse(hasB, both, onlyA), hn::IfThenElse(hasB, onlyB, hn::NaN(d)));
  };
  hn::StoreU(pick(v, a, b), d, call.ports[kValue].view<float>().at(0, row) + x);
  hn::StoreU(pick(s, p, q), d, call.ports[kError].view<float>().at(0, row) + x);
  hn::StoreU(hn::Or(flags(kADq), flags(kBDq)), du, call.ports[kDq].view<uint32_t>().at(0, row) + x);
}

Status InterpolateMaps(const KernelCall& call) {
  const float t = ParamsOf(call).fraction;
  const auto value = call.ports[kValue].view<float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < value.rows; row++) {
    int64_t x = 0;
    for (; x + n <= value.cols; x += n) Pixels(d, call, row, x, t);
    for (; x < value.cols; x++) Pixels(d1, call, row, x, t);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::interpolate_maps {
namespace {
HWY_EXPORT(InterpolateMaps);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(InterpolateMaps)(call); }
}  // namespace rampline::interpolate_maps
#endif
