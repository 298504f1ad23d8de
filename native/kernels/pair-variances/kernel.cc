#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/pair-variances/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/pair-variances.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                      // NOLINT: short names for what this kernel is made of
using namespace rampline::pair_variances;  // NOLINT: the generated ports and parameters

struct Moments {
  double n, sumA, sumB, sum, squares;
};

// Sums over the pixels whose difference is within `limit` of `centre`.
Moments Sum(const float* a, const float* b, int64_t size, float centre, float limit) {
  const DF d;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), middle = hn::Set(d, centre), most = hn::Set(d, limit);
  VF n = zero, sumA = zero, sumB = zero, sum = zero, squares = zero;
  for (int64_t x = 0; x < size; x += kLanes) {
    const int count = static_cast<int>(std::min<int64_t>(kLanes, size - x));
    const VF u = LoadPart(d, a + x, count), v = LoadPart(d, b + x, count);
    const VF gap = hn::Sub(hn::Sub(u, v), middle);
    const auto good = hn::And(hn::Le(hn::Abs(gap), most), hn::FirstN(d, static_cast<size_t>(count)));
    const VF kept = hn::IfThenElseZero(good, gap);
    n = hn::Add(n, hn::IfThenElseZero(good, one));
    sumA = hn::Add(sumA, hn::IfThenElseZero(good, u));
    sumB = hn::Add(sumB, hn::IfThenElseZero(good, v));
    sum = hn::Add(sum, kept);
    squares = hn::MulAdd(kept, kept, squares);
  }
  const auto total = [&](VF v) HWY_ATTR { return static_cast<double>(hn::GetLane(hn::SumOfLanes(d, v))); };
  return {total(n), total(sumA), total(sumB), total(sum), total(squares)};
}

Status PairVariances(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto first = call.ports[kFirst].view<const float>(), second = call.ports[kSecond].view<const float>();
  const auto sums = call.ports[kSums].view<double>();
  for (int64_t row = 0; row < first.rows; row++) {
    double* out = sums.at(0, row);
    std::fill(out, out + 96, 0.0);
    const int64_t y = call.origin.row + row;
    if (y < params.border || y >= call.whole.rows - params.border) continue;
    for (int64_t amplifier = 0; amplifier < 4; amplifier++) {
      const int64_t from = std::max<int64_t>(first.cols * amplifier / 4, params.border);
      const int64_t to = std::min<int64_t>(first.cols * (amplifier + 1) / 4, first.cols - params.border);
      if (from >= to) continue;
      for (int64_t point = 0; point < first.planes; point++) {
        const float *a = first.at(point, row) + from, *b = second.at(point, row) + from;
        double centre = 0, limit = std::numeric_limits<float>::max();
        Moments sum{};
        for (int pass = 0; pass < 5; pass++) {
          sum = Sum(a, b, to - from, static_cast<float>(centre), static_cast<float>(limit));
          if (sum.n == 0) break;
          sum.squares = std::max(sum.squares - sum.sum * sum.sum / sum.n, 0.0);
          centre += sum.sum / sum.n;
          limit = std::max(params.clip * std::sqrt(sum.squares / sum.n), 0.1);
        }
        double* values = out + (amplifier * 6 + point) * 4;
        values[0] = sum.n;
        values[1] = sum.sumA;
        values[2] = sum.sumB;
        values[3] = sum.squares;
      }
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::pair_variances {
namespace {
HWY_EXPORT(PairVariances);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(PairVariances)(call); }
}  // namespace rampline::pair_variances
#endif
