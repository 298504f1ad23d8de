#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/compare-maps/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/compare-maps.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

struct Side {
  const float *value, *error;  // error may be null
  const uint32_t* mask;        // may be null
};

template <class D>
HWY_INLINE hn::Mask<D> Valid(D d, const Side& side, hn::Vec<D> value, uint32_t skip, int64_t x) {
  const auto finite = hn::Eq(hn::Sub(value, value), hn::Zero(d));  // NaN - NaN and inf - inf are NaN
  if (side.mask == nullptr) return finite;
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::And(hn::LoadU(du, side.mask + x), hn::Set(du, skip));
  return hn::And(finite, hn::RebindMask(d, hn::Eq(bits, hn::Zero(du))));
}

template <class D>
HWY_INLINE hn::Vec<D> Square(D d, const float* error, int64_t x) {
  if (error == nullptr) return hn::Zero(d);
  const auto e = hn::LoadU(d, error + x);
  const auto positive = hn::IfThenElseZero(hn::Gt(e, hn::Zero(d)), e);  // false for NaN
  return hn::Mul(positive, positive);
}

template <class D>
HWY_INLINE void Compare(D d, const Side& a, const Side& b, int64_t x, float sigmas2, uint32_t skip, float* difference,
                        float* significance, int64_t counts[5]) {
  const auto u = hn::LoadU(d, a.value + x), v = hn::LoadU(d, b.value + x);
  const auto inA = Valid(d, a, u, skip, x), inB = Valid(d, b, v, skip, x), both = hn::And(inA, inB);
  const auto gap = hn::Sub(v, u), zero = hn::Zero(d);
  const auto square = hn::Add(Square(d, a.error, x), Square(d, b.error, x));
  const auto beyond = hn::Gt(hn::Mul(gap, gap), hn::Mul(hn::Set(d, sigmas2), square));
  const auto equal = hn::Eq(gap, zero);
  // 0 / 0 is replaced by 0; a difference without an error is infinite and comes to the bound.
  const auto ratio = hn::Max(hn::Set(d, -1e4f), hn::Min(hn::Set(d, 1e4f), hn::Div(gap, hn::Sqrt(square))));
  const auto missing = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  hn::StoreU(hn::IfThenElse(both, gap, missing), d, difference + x);
  hn::StoreU(hn::IfThenElse(both, hn::IfThenElse(equal, zero, ratio), missing), d, significance + x);
  const auto count = [&](hn::Mask<D> mask) { return static_cast<int64_t>(hn::CountTrue(d, mask)); };
  const int64_t pairs = count(both);
  counts[0] += pairs;
  counts[1] += count(hn::And(both, beyond));
  counts[2] += count(inA) - pairs;
  counts[3] += count(inB) - pairs;
  counts[4] += pairs - count(hn::And(both, equal));
}

Status CompareMaps(const KernelCall& call) {
  using namespace rampline::compare_maps;  // NOLINT: the generated ports and parameters
  const Params& params = ParamsOf(call);
  const auto a = call.ports[kA].view<const float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto side = [&](int value, int error, int mask, int64_t row) {
    const auto e = call.ports[static_cast<size_t>(error)].view<const float>();
    const auto m = call.ports[static_cast<size_t>(mask)].view<const uint32_t>();
    return Side{call.ports[static_cast<size_t>(value)].view<const float>().at(0, row),
                e.data == nullptr ? nullptr : e.at(0, row), m.data == nullptr ? nullptr : m.at(0, row)};
  };
  for (int64_t row = 0; row < a.rows; row++) {
    const Side one = side(kA, kErrorA, kMaskA, row), two = side(kB, kErrorB, kMaskB, row);
    float* difference = call.ports[kDifference].view<float>().at(0, row);
    float* significance = call.ports[kSignificance].view<float>().at(0, row);
    const float sigmas2 = params.sigmas * params.sigmas;
    const auto skip = static_cast<uint32_t>(params.skip);
    int64_t counts[5] = {}, x = 0;
    for (; x + n <= a.cols; x += n) Compare(d, one, two, x, sigmas2, skip, difference, significance, counts);
    for (; x < a.cols; x++) Compare(d1, one, two, x, sigmas2, skip, difference, significance, counts);
    int32_t* out = call.ports[kCounts].view<int32_t>().at(0, row);
    for (int i = 0; i < 5; i++) out[i] = static_cast<int32_t>(counts[i]);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::compare_maps {
namespace {
HWY_EXPORT(CompareMaps);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CompareMaps)(call); }
}  // namespace rampline::compare_maps
#endif
