#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/mix-planes/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "generated/mix-planes.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::mix_planes;  // NOLINT: the generated ports

using D = hn::CappedTag<double, 8>;
using V = hn::Vec<D>;
using DF = hn::Rebind<float, D>;

// Columns from x on of one row: sums of `kRegisters` registers at once, as each addition waits for the one before.
template <int kRegisters>
HWY_INLINE void Mix(const View<const float>& values, const View<const double>& weights, int64_t row, int64_t x,
                    double* to) {
  const D d;
  const DF df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V sums[kRegisters];
  for (V& sum : sums) sum = hn::Zero(d);
  for (int64_t plane = 0; plane < values.planes; plane++) {
    const V weight = hn::Set(d, weights.at(plane, row)[0]);
    const float* from = values.at(plane, row) + x;
    for (int i = 0; i < kRegisters; i++) {
      sums[i] = hn::MulAdd(weight, hn::PromoteTo(d, hn::LoadU(df, from + i * lanes)), sums[i]);
    }
  }
  for (int i = 0; i < kRegisters; i++) hn::StoreU(sums[i], d, to + i * lanes);
}

// The last few columns: with the rounding of the others.
HWY_INLINE void MixPart(const View<const float>& values, const View<const double>& weights, int64_t row, int64_t x,
                        int64_t count, double* to) {
  const D d;
  const DF df;
  HWY_ALIGN float part[8] = {};
  HWY_ALIGN double last[8];
  V sum = hn::Zero(d);
  for (int64_t plane = 0; plane < values.planes; plane++) {
    std::copy_n(values.at(plane, row) + x, count, part);
    sum = hn::MulAdd(hn::Set(d, weights.at(plane, row)[0]), hn::PromoteTo(d, hn::Load(df, part)), sum);
  }
  hn::Store(sum, d, last);
  std::copy_n(last, count, to);
}

Status MixPlanes(const KernelCall& call) {
  constexpr int kMany = 6;
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  const auto values = call.ports[kValues].view<const float>();
  const auto weights = call.ports[kWeights].view<const double>();
  const auto sum = call.ports[kSum].view<double>();
  for (int64_t row = 0; row < sum.rows; row++) {
    double* to = sum.at(0, row);
    int64_t x = 0;
    for (; x + kMany * lanes <= sum.cols; x += kMany * lanes) Mix<kMany>(values, weights, row, x, to + x);
    for (; x + lanes <= sum.cols; x += lanes) Mix<1>(values, weights, row, x, to + x);
    if (x < sum.cols) MixPart(values, weights, row, x, sum.cols - x, to + x);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::mix_planes {
namespace {
HWY_EXPORT(MixPlanes);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(MixPlanes)(call); }
}  // namespace rampline::mix_planes
#endif
